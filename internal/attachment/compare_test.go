// SPDX-License-Identifier: Apache-2.0

package attachment_test

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-project/weft/internal/attachment"
	"github.com/weft-project/weft/internal/nodecheck"
)

// differs returns kind, object and message of what Check finds.
func (w *world) differs(repair bool) []string {
	w.t.Helper()
	findings, err := w.Check(w.t.Context(), repair)
	if err != nil {
		w.t.Fatal(err)
	}
	var texts []string
	for _, f := range findings {
		text := f.Object + ": " + f.Kind + ": " + f.Message
		if f.Repaired {
			text += " (repaired)"
		}
		texts = append(texts, text)
	}
	return texts
}

func TestCheckCompares(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		e := w.mesh.add("lb.trench-a", "lb-1", "web")
		w.mustAttach(spec("a", "web"), time.Second)
		want := func(texts ...string) {
			t.Helper()
			if diff := cmp.Diff(texts, w.differs(false)); diff != "" {
				t.Error(diff)
			}
		}
		want("attachment a: interface-missing: the workload's namespace has no interface nsm-1")
		w.node.interfaces["1/nsm-1"] = true
		right := attachment.Actual{
			Interface: attachment.Interface{MAC: attachment.MAC("node-1/a"), Addresses: []netip.Prefix{
				netip.MustParsePrefix("10.0.0.1/32"), netip.MustParsePrefix("20.0.0.1/32"), netip.MustParsePrefix("fe80::1/64"),
			}},
			Rules: []netip.Prefix{netip.MustParsePrefix("20.0.0.1/32")},
		}
		w.node.actual = right
		want()
		w.node.actual = attachment.Actual{Interface: attachment.Interface{
			MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")},
		}}
		want("attachment a: mac-differs: interface nsm-1 has another MAC",
			"attachment a: address-missing: interface nsm-1 has no address 10.0.0.1",
			"attachment a: address-missing: interface nsm-1 has not the VIP 20.0.0.1",
			"attachment a: policy-missing: no rule sends what VIP 20.0.0.1 answers through interface nsm-1",
			"attachment a: address-extra: interface nsm-1 has an address that no connection gave it")
		w.node.actual = right
		w.mesh.with(e, func(e *fakeEndpoint) { e.fail = errors.New("away") })
		w.mesh.lose(e, attachment.ErrLost)
		time.Sleep(time.Second)
		want("attachment a: leg-missing: the leg to endpoint lb-1 does not stand: endpoint lb-1: away")
		w.mesh.with(e, func(e *fakeEndpoint) { e.fail = nil })
		if diff := cmp.Diff([]string{"attachment a: leg-missing: the leg to endpoint lb-1 does not stand: endpoint lb-1: away (repaired)"}, w.differs(true)); diff != "" {
			t.Error(diff)
		}
		want()
	})
}

// TestCheckRepairs: the legs are requested anew, which is all an agent can do.
func TestCheckRepairs(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		e := w.mesh.add("lb.trench-a", "lb-1", "web")
		w.mustAttach(spec("a", "web"), time.Second)
		before, _ := w.mesh.count(e)
		findings, err := w.Check(t.Context(), true)
		if after, _ := w.mesh.count(e); err != nil || after != before+1 || len(findings) != 1 || findings[0].Repaired || findings[0].Severity != nodecheck.Error {
			t.Errorf("%d requests more, %+v, %v", after-before, findings, err)
		}
	})
}
