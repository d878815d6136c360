// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"errors"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
)

// legWorld is a load balancer with a link to attach as a leg.
func legWorld(t *testing.T) (*LB, *nl.Handle, int) {
	t.Helper()
	testutil.CheckLeaks(t)
	l := newLB(t, Config{})
	h := testutil.Handle(t, l.cfg.NetNS)
	link, _, err := h.AddVeth(nl.Veth{Name: "leg", PeerName: "peer"})
	check(t, err)
	return l, h, link.Index
}

func hasProgram(t *testing.T, h *nl.Handle, ifindex int) bool {
	t.Helper()
	block, err := h.IngressBlock(ifindex)
	check(t, err)
	return block != 0
}

// A leg that is attached twice has the program until both have gone: the old
// owner of a link may let go after the new one has come.
func TestAttachLegTwice(t *testing.T) {
	l, h, index := legWorld(t)
	first, err := l.AttachLeg(index)
	check(t, err)
	second, err := l.AttachLeg(index)
	check(t, err)
	for range 2 {
		check(t, first.Close())
		if !hasProgram(t, h, index) {
			t.Fatal("no program after the first of two has closed")
		}
	}
	check(t, second.Close())
	if hasProgram(t, h, index) {
		t.Error("the program remains")
	}
}

func TestAttachLegWithForeignHook(t *testing.T) {
	l, h, index := legWorld(t)
	check(t, h.JoinIngressBlock(index, 4711))
	if _, err := l.AttachLeg(index); !errors.Is(err, nl.ErrExists) {
		t.Errorf("got %v, want ErrExists", err)
	}
	if block, err := h.IngressBlock(index); err != nil || block != 4711 {
		t.Errorf("the other hook is %d, %v", block, err)
	}
	check(t, h.LeaveIngressBlock(index))
	leg, err := l.AttachLeg(index)
	check(t, err)
	check(t, leg.Close())
}

// Closing a load balancer detaches the legs that are left; closing those is no
// error.
func TestCloseWithLegs(t *testing.T) {
	l, h, index := legWorld(t)
	leg, err := l.AttachLeg(index)
	check(t, err)
	check(t, l.Close())
	if hasProgram(t, h, index) {
		t.Error("the program remains")
	}
	check(t, leg.Close())
}

// A killed process leaves the program on its legs; the next one replaces it.
func TestAttachLegAfterACrash(t *testing.T) {
	l, h, index := legWorld(t)
	_, err := l.AttachLeg(index)
	check(t, err)
	check(t, l.block.Close(true))
	check(t, l.Close())
	if !hasProgram(t, h, index) {
		t.Fatal("this is not what a crash leaves")
	}
	again := newLB(t, Config{NetNS: l.cfg.NetNS})
	leg, err := again.AttachLeg(index)
	check(t, err)
	if !hasProgram(t, h, index) {
		t.Error("the leg has no program")
	}
	check(t, leg.Close())
	if hasProgram(t, h, index) {
		t.Error("the program remains")
	}
}

// While the kernel attaches a leg, tables and targets change.
func TestAttachLegDelaysNothing(t *testing.T) {
	l, _, _ := legWorld(t)
	l.legsMu.Lock()
	attached := make(chan error, 1)
	go func() { attached <- closed(l.AttachLeg(4711)) }()
	changed := make(chan error, 1)
	mac := legMAC(1)
	go func() {
		changed <- errors.Join(
			l.SetTable(1, []uint16{1}),
			l.SetTarget(1, Target{IfIndex: 1, MAC: mac[:], LegMAC: mac[:]}),
			l.SetRules(Rules{}),
		)
	}()
	select {
	case err := <-changed:
		check(t, err)
	case <-time.After(10 * time.Second):
		t.Error("changes wait")
	}
	l.legsMu.Unlock()
	if err := <-attached; !errors.Is(err, nl.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
}
