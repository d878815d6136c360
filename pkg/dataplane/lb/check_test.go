// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cilium/ebpf/link"

	"github.com/weft-project/weft/internal/testutil"
)

// Pins that vanish are missed, and made again, by the one that works and by the
// one that waits behind it.
func TestRepin(t *testing.T) {
	pins := filepath.Join(pinsOf(t), "lb-1")
	ns := external(t)
	first, err := New(Config{NetNS: ns, Interface: "ext", PinDir: pins})
	check(t, err)
	restored := func(l *LB) {
		t.Helper()
		check(t, os.RemoveAll(pins))
		want := []string{filepath.Join(pins, "ingress"), filepath.Join(pins, recordName)}
		if lost := l.LostPins(); !slices.Equal(lost, want) {
			t.Errorf("lost %v, want %v", lost, want)
		}
		check(t, l.Repin())
		if lost := l.LostPins(); len(lost) != 0 {
			t.Errorf("still lost: %v", lost)
		}
	}
	restored(first)
	restored(first)
	check(t, first.Abandon())
	second, err := New(Config{NetNS: ns, Interface: "ext", PinDir: pins})
	check(t, err)
	if !second.Shadow() {
		t.Error("what is pinned again is not found")
	}
	restored(second)
	check(t, second.TakeOver())
	restored(second)
	if n := programs(t, ns); n != 1 {
		t.Errorf("%d programs on the interface", n)
	}
	check(t, second.Close())
	nothingLeft(t, ns, pins)
}

// Programs that somebody has taken off come back.
func TestDress(t *testing.T) {
	pins := filepath.Join(pinsOf(t), "lb-1")
	ns := external(t)
	l, err := New(Config{NetNS: ns, Interface: "ext", VLAN: 5, PinDir: pins})
	check(t, err)
	h := testutil.Handle(t, ns)
	leg := testutil.Link(t, ns, "lo").Index
	closer, err := l.AttachLeg(leg)
	check(t, err)
	bare := func(hooks []string, legs ...int) {
		t.Helper()
		gotHooks, gotLegs, err := l.Bare()
		check(t, err)
		if !slices.Equal(gotHooks, hooks) || !slices.Equal(gotLegs, legs) {
			t.Errorf("bare: %v %v, want %v %v", gotHooks, gotLegs, hooks, legs)
		}
	}
	bare(nil)
	check(t, h.LeaveIngressBlock(leg))
	for _, name := range []string{"ingress", "egress"} {
		lk, err := link.LoadPinnedLink(filepath.Join(pins, name), nil)
		check(t, err)
		check(t, lk.Detach())
		check(t, lk.Close())
	}
	bare([]string{"ingress", "egress"}, leg)
	check(t, l.Dress())
	bare(nil)
	if n := programs(t, ns); n != 1 || !hasProgram(t, h, leg) {
		t.Errorf("%d programs on the interface", n)
	}
	check(t, closer.Close())
	check(t, l.Close())
	nothingLeft(t, ns, pins)
}
