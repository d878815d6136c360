// SPDX-License-Identifier: Apache-2.0

package test

import (
	"encoding/json"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weft-project/weft/internal/cluster"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/testutil/bpftest"
)

// TestCheckAndRepair spoils a node by hand in one way after the other: weft check
// tells, --repair mends, and traffic is as before.
func TestCheckAndRepair(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	b := newCluster(t, cluster.Options{Together: true}, cluster.ReplicaOptions{Pinned: true})
	b.start()
	n, w, r := b.Nodes[0], b.workloads[0], b.replicas[0]
	inside, node, behind := testutil.Handle(t, w.NetNS), testutil.Handle(t, n.NetNS), testutil.Handle(t, r.NetNS)
	b.checks("nothing spoilt", false)
	first := func(h *nl.Handle, prefix string) nl.Link {
		t.Helper()
		links, err := h.Links()
		must(t, err)
		for _, link := range links {
			if strings.HasPrefix(link.Name, prefix) || strings.HasPrefix(link.Alias, prefix) {
				return link
			}
		}
		t.Fatalf("no interface %s", prefix)
		return nl.Link{}
	}
	forwarder, lb := filepath.Join(n.PinDir(), "forwarder"), filepath.Join(n.PinDir(), "lb-lb-1")
	for _, spoil := range []struct {
		name string
		do   func() error
		want []string // kinds
	}{
		{"a VIP", func() error {
			return inside.DeleteAddress(first(inside, nic).Index, netip.PrefixFrom(vips[0], 32))
		}, []string{"configuration-differs", "address-missing"}},
		{"a rule", func() error {
			rules, err := inside.Rules()
			must(t, err)
			return inside.DeleteRule(rules[0])
		}, []string{"configuration-differs"}},
		{"the program of a workload's interface", func() error {
			return node.LeaveIngressBlock(first(node, "weft:client:").Index)
		}, []string{"program-missing"}},
		{"the entries of the cross-connect", func() error {
			return bpftest.Clear(filepath.Join(forwarder, "xc_ports_v2"))
		}, []string{"entry-differs"}},
		{"the reply program of a leg", func() error {
			return behind.LeaveIngressBlock(first(behind, "leg-").Index)
		}, []string{"program-missing"}},
		{"a load balancer's program", func() error {
			return bpftest.Detach(filepath.Join(lb, "ingress"))
		}, []string{"program-missing"}},
		{"a leg that is set down", func() error {
			return behind.SetDown(first(behind, "leg-").Index)
		}, []string{"leg-down"}},
		{"all pins", func() error { return os.RemoveAll(n.PinDir()) }, []string{"pin-missing"}},
		{"a workload's interface", func() error {
			return inside.DeleteLink(first(inside, nic).Index)
		}, []string{"interface-missing"}},
	} {
		must(t, spoil.do())
		b.checks(spoil.name, false, spoil.want...)
		b.checks(spoil.name, true, spoil.want...)
		b.checks(spoil.name+", repaired", false)
		b.reach(webPort, b.workloads...)
	}
}

// checks runs weft check, which has to find differences of these kinds at least,
// or none.
func (b *bed) checks(what string, repair bool, kinds ...string) {
	b.t.Helper()
	args := []string{"check", "-o", "json"}
	if repair {
		args = append(args, "--repair")
	}
	cmd := exec.Command(weftBinary(b.t), args...)
	cmd.Env = append(os.Environ(), "WEFT_SOCKET="+b.Nodes[0].Dir)
	var problem strings.Builder
	cmd.Stderr = &problem
	out, err := cmd.Output()
	if failed := err != nil; failed != (len(kinds) > 0 && !repair) {
		b.t.Errorf("%s: weft %v: %v: %s%s", what, args, err, out, problem.String())
	}
	var answer struct {
		Findings []struct {
			Kind, Severity string
			Repaired       bool
		}
	}
	must(b.t, json.Unmarshal(out, &answer))
	found := map[string]bool{}
	for _, f := range answer.Findings {
		if f.Severity != "note" {
			found[f.Kind] = true
		}
		if f.Repaired != repair {
			b.t.Errorf("%s: weft %v: %+v", what, args, f)
		}
	}
	for _, kind := range kinds {
		if !found[kind] && !repair {
			b.t.Errorf("%s: weft %v lacks %s: %s", what, args, kind, out)
		}
	}
	if len(kinds) == 0 && len(found) > 0 {
		b.t.Errorf("%s: weft %v: %s", what, args, out)
	}
}
