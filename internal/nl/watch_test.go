// SPDX-License-Identifier: Apache-2.0

package nl_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
)

const limit = 5 * time.Second

// view is the state that a watch's events add up to.
type view struct {
	mu    sync.Mutex
	links map[string]nl.Link
	gate  chan struct{} // events wait until it is closed
}

func watch(t *testing.T, ns string, gate chan struct{}) *view {
	t.Helper()
	v := &view{links: map[string]nl.Link{}, gate: gate}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	if err := nl.WatchLinks(ctx, ns, v.event); err != nil {
		t.Fatal(err)
	}
	return v
}

func (v *view) event(e nl.LinkEvent) {
	if v.gate != nil {
		<-v.gate
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if e.Gone {
		delete(v.links, e.Link.Name)
		return
	}
	v.links[e.Link.Name] = e.Link
}

func (v *view) link(name string) (nl.Link, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	l, ok := v.links[name]
	return l, ok
}

func TestWatchFollowsCarrier(t *testing.T) {
	testutil.Require(t, "netns")
	testutil.CheckLeaks(t)
	nsA, nsB, a, b := pair(t)
	h, hb := testutil.Handle(t, nsA), testutil.Handle(t, nsB)
	v := watch(t, nsA, nil)
	state := func(want bool) func() bool {
		return func() bool { l, ok := v.link("a"); return ok && l.Carrier == want }
	}
	testutil.Eventually(t, limit, "replay of a", state(false))
	if err := errors.Join(h.SetUp(a.Index), hb.SetUp(b.Index)); err != nil {
		t.Fatal(err)
	}
	testutil.Eventually(t, limit, "carrier", state(true))
	if err := hb.SetDown(b.Index); err != nil {
		t.Fatal(err)
	}
	testutil.Eventually(t, limit, "loss of carrier", state(false))
	if err := hb.DeleteLink(b.Index); err != nil {
		t.Fatal(err)
	}
	testutil.Eventually(t, limit, "a gone", func() bool { _, ok := v.link("a"); return !ok })
}

func TestWatchSeesNamespaceEnd(t *testing.T) {
	testutil.Require(t, "netns")
	testutil.CheckLeaks(t)
	nsA, nsB := testutil.NetNS(t), testutil.NetNS(t)
	h := testutil.Handle(t, nsA)
	a, _, err := h.AddVeth(nl.Veth{Name: "a", PeerName: "b", PeerNetNS: nsB, PeerUp: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.SetUp(a.Index); err != nil {
		t.Fatal(err)
	}
	v := watch(t, nsA, nil)
	testutil.Eventually(t, limit, "carrier", func() bool { l, ok := v.link("a"); return ok && l.Carrier })
	testutil.DeleteNetNS(t, nsB)
	testutil.Eventually(t, limit, "a gone", func() bool { _, ok := v.link("a"); return !ok })
}

// A slow receiver loses events and must still end up with the truth.
func TestWatchResyncsAfterOverflow(t *testing.T) {
	testutil.Require(t, "netns")
	testutil.CheckLeaks(t)
	ns := testutil.NetNS(t)
	h := testutil.Handle(t, ns)
	gone, _, err := h.AddVeth(nl.Veth{Name: "gone", PeerName: "gone-peer"})
	if err != nil {
		t.Fatal(err)
	}
	kept, _, err := h.AddVeth(nl.Veth{Name: "kept", PeerName: "kept-peer"})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.SetUp(kept.Index); err != nil { // the kernel tells of an alias only when up
		t.Fatal(err)
	}
	gate := make(chan struct{})
	open := sync.OnceFunc(func() { close(gate) })
	t.Cleanup(open)
	v := watch(t, ns, gate)
	for i := range 8000 { // more than the buffer holds
		if err := h.SetAlias(kept.Index, fmt.Sprint("turn ", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.DeleteLink(gone.Index); err != nil {
		t.Fatal(err)
	}
	if err := h.SetAlias(kept.Index, "last"); err != nil {
		t.Fatal(err)
	}
	open()
	testutil.Eventually(t, limit, "last state", func() bool {
		k, _ := v.link("kept")
		_, present := v.link("gone")
		_, lo := v.link("lo")
		return k.Alias == "last" && !present && lo
	})
}

func TestWatchMissingNamespace(t *testing.T) {
	testutil.Require(t, "netns")
	testutil.CheckLeaks(t)
	err := nl.WatchLinks(context.Background(), "/run/netns/missing", func(nl.LinkEvent) {})
	if !errors.Is(err, netns.ErrNotFound) {
		t.Errorf("%v, want ErrNotFound", err)
	}
}
