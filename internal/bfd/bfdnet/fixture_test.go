// SPDX-License-Identifier: Apache-2.0

package bfdnet

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/bfd"
	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
)

const upLimit = 15 * time.Second

// wire is two namespaces joined by links; ours has 192.0.2.1, 2001:db8::1 and
// fe80::1 on the first link, the neighbour's ends with 2, and the others
// likewise.
type wire struct{ ours, theirs string }

func newWire(t testing.TB, links int) wire {
	t.Helper()
	testutil.Require(t, "netns")
	w := wire{testutil.NetNS(t), testutil.NetNS(t)}
	h := testutil.Handle(t, w.ours)
	for i := range links {
		name := fmt.Sprintf("wire%d", i)
		if _, _, err := h.AddVeth(nl.Veth{Name: name, PeerName: name, PeerNetNS: w.theirs, NoLinkLocal: true}); err != nil {
			t.Fatal(err)
		}
		for end, ns := range []string{w.ours, w.theirs} {
			e, index := testutil.Handle(t, ns), testutil.Link(t, ns, name).Index
			for _, address := range []string{"192.0.%d.%d/24", "2001:db8:%d::%d/64", "fe80::%d:%d/64"} {
				if err := e.AddAddress(index, netip.MustParsePrefix(fmt.Sprintf(address, 2+i, 1+end))); err != nil {
					t.Fatal(err)
				}
			}
			if err := e.SetUp(index); err != nil {
				t.Fatal(err)
			}
		}
	}
	return w
}

// setLink sets our end of the first link up or down: the wire is cut.
func (w wire) setLink(t testing.TB, up bool) {
	t.Helper()
	h, index := testutil.Handle(t, w.ours), testutil.Link(t, w.ours, "wire0").Index
	set := h.SetDown
	if up {
		set = h.SetUp
	}
	if err := set(index); err != nil {
		t.Fatal(err)
	}
}

// speaker is one with a record of its changes.
type speaker struct {
	*Speaker
	t  testing.TB
	mu sync.Mutex
	// changes are in the order in which they were told, with the time.
	changes []change
}

type change struct {
	Status
	at time.Time
}

func newSpeaker(t testing.TB, ns string) *speaker {
	t.Helper()
	s := &speaker{t: t}
	err := netns.Do(ns, func() (err error) {
		s.Speaker, err = New(Options{OnChange: func(status Status) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.changes = append(s.changes, change{status, time.Now()})
		}})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *speaker) set(sessions ...Session) {
	s.t.Helper()
	if err := s.Set(sessions); err != nil {
		s.t.Fatal(err)
	}
}

func (s *speaker) status(name string) Status {
	s.t.Helper()
	all := s.Status()
	i := slices.IndexFunc(all, func(status Status) bool { return status.Name == name })
	if i < 0 {
		s.t.Fatalf("no session %q in %+v", name, all)
	}
	return all[i]
}

func (s *speaker) waitUp(names ...string) {
	s.t.Helper()
	for _, name := range names {
		if !eventually(upLimit, func() bool { return s.status(name).State == bfd.Up }) {
			s.t.Fatalf("session %s is not up: %+v, discarded %v", name, s.status(name), s.Discarded())
		}
	}
}

func eventually(limit time.Duration, ok func() bool) bool {
	for end := time.Now().Add(limit); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// history is how the session changed.
func (s *speaker) history(name string) (text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.changes {
		if c.Name == name {
			text += fmt.Sprintf("%s %v (%v; neighbour %v: %v) ", c.at.Format(".000000"), c.State, c.Diag, c.RemoteState, c.RemoteDiag)
		}
	}
	return text
}

// downAt is when the session was told to be down the last time.
func (s *speaker) downAt(name string) (time.Time, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range slices.Backward(s.changes) {
		if c.Name == name {
			return c.at, c.State == bfd.Down
		}
	}
	return time.Time{}, false
}

func fast() bfd.Config {
	return bfd.Config{MinTx: 50 * time.Millisecond, MinRx: 50 * time.Millisecond, Multiplier: 3}
}

func single(name, remote, link string) Session {
	return Session{Key: Key{Name: name, Remote: netip.MustParseAddr(remote), Interface: link}, Config: fast()}
}

func multihop(name, local, remote string) Session {
	return Session{Key: Key{Name: name, Local: netip.MustParseAddr(local), Remote: netip.MustParseAddr(remote), Multihop: true}, Config: fast()}
}
