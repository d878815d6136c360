// SPDX-License-Identifier: Apache-2.0

package bfdnet

import (
	"errors"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/bfd"
	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
)

// pair is two speakers with a session over every link and family.
func pair(t testing.TB, w wire, links int, cfg bfd.Config) (ours, theirs *speaker, names []string) {
	t.Helper()
	ours, theirs = newSpeaker(t, w.ours), newSpeaker(t, w.theirs)
	here, there, names := everyLink(links, cfg)
	ours.set(here...)
	theirs.set(there...)
	ours.waitUp(names...)
	theirs.waitUp(names...)
	return ours, theirs, names
}

// everyLink is the two ends of a session over every link and family.
func everyLink(links int, cfg bfd.Config) (here, there []Session, names []string) {
	for i := range links {
		link := "wire" + string(rune('0'+i))
		four, six := "192.0."+string(rune('2'+i))+".", "2001:db8:"+string(rune('2'+i))+"::"
		for _, prefix := range []string{four, six} {
			name := prefix + link
			names = append(names, name)
			a, b := single(name, prefix+"2", link), single(name, prefix+"1", link)
			a.Config, b.Config = cfg, cfg
			here, there = append(here, a), append(there, b)
		}
	}
	return here, there, names
}

func TestChangesTouchNothingElse(t *testing.T) {
	testutil.CheckLeaks(t)
	w := newWire(t, 2)
	ours, theirs, names := pair(t, w, 2, fast())
	since := ours.status(names[0]).Since
	ours.set(single(names[0], "192.0.2.2", "wire0"))
	for _, name := range names[1:] {
		if !eventually(upLimit, func() bool { s := theirs.status(name); return s.State == bfd.Down && s.RemoteState == bfd.AdminDown }) {
			t.Errorf("%s was removed, and its neighbour sees %+v", name, theirs.status(name))
		}
	}
	if now := ours.status(names[0]); !now.Since.Equal(since) || now.Flaps != 0 || len(ours.Status()) != 1 {
		t.Errorf("the session that stays: %+v", now)
	}
	if err := ours.Close(); err != nil {
		t.Error(err)
	}
	testutil.Eventually(t, upLimit, "the neighbour is told of the end", func() bool {
		s := theirs.status(names[0])
		return s.State == bfd.Down && s.RemoteState == bfd.AdminDown && s.Diag == bfd.NeighborSignaledDown
	})
	if err := ours.Set(nil); !errors.Is(err, ErrClosed) {
		t.Errorf("Set after Close: %v", err)
	}
}

func TestMissingInterface(t *testing.T) {
	testutil.CheckLeaks(t)
	w := newWire(t, 1)
	s := newSpeaker(t, w.ours)
	s.set(single("a", "192.0.2.2", "later0"), single("b", "192.0.2.3", "later1"))
	if got := s.status("a").LastError; !strings.Contains(got, "later0") || !strings.Contains(got, "no such device") {
		t.Errorf("says %q", got)
	}
	h := testutil.Handle(t, w.ours)
	if _, _, err := h.AddVeth(nl.Veth{Name: "later0", PeerName: "peer"}); err != nil {
		t.Fatal(err)
	}
	testutil.Eventually(t, upLimit, "the interface is found", func() bool { return !strings.Contains(s.status("a").LastError, "no such device") })
}

func TestPortTaken(t *testing.T) {
	testutil.CheckLeaks(t)
	w := newWire(t, 1)
	taken := testutil.ListenPacket(t, w.ours, "udp4", "0.0.0.0:3784")
	s := newSpeaker(t, w.ours)
	err := s.Set([]Session{single("a", "192.0.2.2", "wire0"), single("b", "2001:db8:2::2", "wire0")})
	if err == nil || !strings.Contains(err.Error(), "3784") || !strings.Contains(err.Error(), "in use") || len(s.Status()) != 1 {
		t.Errorf("%v, %+v", err, s.Status())
	}
	_ = taken.Close()
	s.set(single("a", "192.0.2.2", "wire0"), single("b", "2001:db8:2::2", "wire0"))
}

func TestInvalid(t *testing.T) {
	testutil.Require(t, "netns")
	s := newSpeaker(t, testutil.NetNS(t))
	noInterface, twoHops, multiplier := single("a", "192.0.2.2", ""), multihop("a", "192.0.2.1", "192.0.2.2"), single("a", "192.0.2.2", "x")
	twoHops.Interface, multiplier.Multiplier, multiplier.MinTx = "x", 0, 0
	families := multihop("a", "192.0.2.1", "2001:db8::1")
	for want, sessions := range map[string][]Session{
		"interface: is missing": {noInterface}, "interface: \"x\"": {twoHops}, "multiplier: 0": {multiplier}, "minTx: 0s": {multiplier},
		"different families": {families}, "is there twice": {multihop("a", "192.0.2.1", "192.0.2.2"), multihop("a", "192.0.2.1", "192.0.2.3")},
		"same path": {multihop("a", "192.0.2.1", "192.0.2.2"), multihop("b", "192.0.2.1", "192.0.2.2")},
	} {
		if err := s.Set(sessions); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	if len(s.Status()) != 0 {
		t.Errorf("%+v", s.Status())
	}
}

// Packets from outside that are wrong or random are counted and harm nothing, and
// a packet that may have come over a router (TTL below 255) is none of a single hop.
func TestNoise(t *testing.T) {
	testutil.CheckLeaks(t)
	w := newWire(t, 1)
	ours, _, names := pair(t, w, 1, fast())
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	down := bfd.Packet{State: bfd.Down, Multiplier: 3, MyDiscriminator: 1, DesiredMinTx: time.Second, RequiredMinRx: time.Second}
	for _, to := range []string{"192.0.2.1:3784", "[2001:db8:2::1]:3784"} {
		var c net.Conn
		if err := netns.Do(w.theirs, func() (err error) { c, err = net.Dial("udp", to); return err }); err != nil {
			t.Fatal(err)
		}
		for range 2000 { // with the TTL of 64 that is usual
			b := make([]byte, random.IntN(300))
			for i := range b {
				b[i] = byte(random.Uint32())
			}
			_, _ = c.Write(b)
			_, _ = c.Write(down.Append(nil))
		}
		_ = c.Close()
	}
	testutil.Eventually(t, upLimit, "the noise is counted", func() bool { return ours.Discarded()[bfd.WrongTTL] > 7000 })
	for _, name := range names {
		if s := ours.status(name); s.State != bfd.Up || s.Flaps != 0 {
			t.Errorf("%s: %+v", name, s)
		}
	}
}
