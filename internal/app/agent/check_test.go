// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"net/netip"
	"slices"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-project/weft/internal/testutil"
	agentv1 "github.com/weft-project/weft/pkg/api/agent/v1"
	nodev1 "github.com/weft-project/weft/pkg/api/node/v1"
)

// wantFindings checks the node and compares the kinds of what differs.
func (m *machine) wantFindings(want ...string) {
	m.t.Helper()
	response, err := nodev1.NewNodeClient(m.dial(m.AdminSocket())).Check(within(m.t), &nodev1.CheckRequest{})
	if err != nil {
		m.t.Fatal(err)
	}
	var kinds []string
	for _, f := range response.GetFindings() {
		kinds = append(kinds, f.GetKind()+" "+f.GetWanted())
	}
	slices.Sort(kinds)
	if diff := cmp.Diff(want, kinds); diff != "" {
		m.t.Errorf("findings: %s", diff)
	}
}

// lose takes from the workload's interface, by hand, what it needs, and puts it
// back.
func (m *machine) lose(w workload, iface *agentv1.Interface) {
	m.t.Helper()
	handle := testutil.Handle(m.t, w.path)
	rules, err := handle.Rules()
	if err != nil || len(rules) == 0 {
		m.t.Fatalf("rules %v, %v", rules, err)
	}
	vip := netip.MustParsePrefix("20.0.0.1/32")
	check(m.t, handle.DeleteAddress(int(iface.GetIndex()), vip))
	var gone int
	for _, rule := range rules {
		if rule.From == vip {
			check(m.t, handle.DeleteRule(rule))
			gone++
		}
	}
	if gone == 0 {
		m.t.Errorf("no rule from %s in %v", vip, rules)
	}
	m.wantFindings("address-missing 20.0.0.1/32", "policy-missing rule from 20.0.0.1/32")
	check(m.t, handle.AddAddress(int(iface.GetIndex()), vip))
	for _, rule := range rules {
		if rule.From == vip {
			check(m.t, handle.AddRule(rule))
		}
	}
	m.wantFindings()
}
