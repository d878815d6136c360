// SPDX-License-Identifier: Apache-2.0

package xconnect

import (
	"bytes"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// model is the cross-connect in plain Go. For a choice by flow hash it names
// all legs that may be chosen; the kernel's hash has a secret seed.
type model struct {
	clients   map[int][]Leg
	endpoints map[int]Leg // the way to the client
}

func (m model) decide(ifindex int, f []byte) (reason Reason, to []Leg) {
	reason, to = m.choose(ifindex, f)
	tunnels := slices.DeleteFunc(slices.Clone(to), func(l Leg) bool { return l.IfIndex != 0 })
	if bytes.Equal(f[12:14], []byte{0x88, 0xb5}) && len(tunnels) > 0 {
		// Not into a tunnel. A choice among legs may fall on one or on another kind.
		return BadControl, to
	}
	return reason, to
}

func (m model) choose(ifindex int, f []byte) (reason Reason, to []Leg) {
	if to, ok := m.endpoints[ifindex]; ok {
		return ToClient, []Leg{to}
	}
	set, ok := m.clients[ifindex]
	if !ok {
		return NoPort, nil
	}
	dst := net.HardwareAddr(f[:6])
	switch len(set) {
	case 0:
		return NoLeg, nil
	case 1:
		return OnlyLeg, set
	}
	preferred := set
	var local []Leg
	for _, l := range set {
		if l.Local {
			local = append(local, l)
		}
	}
	if len(local) > 0 {
		preferred = local
	}
	if bytes.Equal(dst, DefaultGateway) {
		return Anycast, preferred
	}
	if dst[0]&1 != 0 {
		return Group, preferred
	}
	for _, l := range set {
		if bytes.Equal(l.MAC, dst) {
			return LegMAC, []Leg{l}
		}
	}
	return UnknownMAC, nil
}

func TestAgreesWithModel(t *testing.T) {
	x := open(t, Config{})
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	m := model{clients: map[int][]Leg{}, endpoints: map[int]Leg{}}
	for step := range 20000 {
		if step%20 == 0 {
			m.change(t, x, r)
		}
		ifindex, f := 1+r.IntN(12), randomFrame(r)
		got := run(t, x, ifindex, f)
		reason, to := m.decide(ifindex, f)
		if err := compare(got, reason, to, f, uint32(ifindex)); err != "" {
			t.Fatalf("step %d, interface %d, frame %x, legs %v: got %v: %s", step, ifindex, f, m.clients[ifindex], got, err)
		}
	}
}

// change changes one port, in the program and in the model.
func (m model) change(t *testing.T, x *XConnect, r *rand.Rand) {
	t.Helper()
	ifindex := 1 + r.IntN(12)
	delete(m.clients, ifindex)
	delete(m.endpoints, ifindex)
	switch r.IntN(6) {
	case 0:
		must(t, x.Delete(ifindex))
	case 1:
		m.endpoints[ifindex] = Leg{IfIndex: 1 + r.IntN(12)}
		must(t, x.SetEndpoint(ifindex, m.endpoints[ifindex].IfIndex, uint32(ifindex)))
	case 2:
		m.endpoints[ifindex] = Leg{Tunnel: randomTunnel(r)}
		must(t, x.SetEndpointBehind(ifindex, m.endpoints[ifindex].Tunnel))
	default:
		n := r.IntN(5)
		if r.IntN(5) == 0 {
			n = r.IntN(MaxLegs + 1)
		}
		set := make([]Leg, 0, n)
		for i := range r.Perm(n) {
			leg := Leg{IfIndex: 1000 + r.IntN(1000)*64 + i, MAC: mac(byte(i)), Local: r.IntN(3) == 0}
			if r.IntN(2) == 0 {
				leg.IfIndex, leg.Tunnel = 0, randomTunnel(r)
			}
			set = append(set, leg)
		}
		m.clients[ifindex] = set
		must(t, x.SetClient(ifindex, set))
	}
}

func randomTunnel(r *rand.Rand) Tunnel {
	t := Tunnel{Device: 1 + r.IntN(9), VNI: 1 + r.Uint32N(1<<20), Remote: netip.AddrFrom4([4]byte{192, 0, 2, byte(r.Uint32())})}
	if r.IntN(2) == 0 {
		t.Remote = netip.AddrFrom16([16]byte{0x20, 1, 15: byte(r.Uint32())})
	}
	return t
}

func randomFrame(r *rand.Rand) []byte {
	dst := mac(byte(r.IntN(MaxLegs)))
	switch r.IntN(4) {
	case 0:
		dst = DefaultGateway
	case 1:
		dst = net.HardwareAddr{0x33, 0x33, byte(r.Uint32()), 0, 0, byte(r.Uint32())}
	}
	f := frame(dst, uint16(r.Uint32()))
	switch r.IntN(4) {
	case 0: // no IP at all
		f[12], f[13] = 0x88, 0xb5
		for i := 14; i < len(f); i++ {
			f[i] = byte(r.Uint32())
		}
	case 1: // cut off; a test run refuses short IP packets and empty frames
		f = f[:15+r.IntN(len(f)-14)]
		f[12], f[13] = 0x88, 0xb5
	}
	return f
}

// compare returns what is wrong with the program's verdict.
func compare(got verdict, reason Reason, to []Leg, sent []byte, mark uint32) string {
	if reason == BadControl && got.Reason != BadControl {
		// Right if there is another kind of leg that it can have gone by.
		to = slices.DeleteFunc(slices.Clone(to), func(l Leg) bool { return l.IfIndex == 0 })
		reason = got.Reason
	}
	if got.Reason != reason {
		return "want reason " + reason.String()
	}
	if reason.Dropped() {
		want := sent
		if reason == BadControl { // anycast writes the MAC first
			want = append(bytes.Clone(got.Frame[:6]), sent[6:]...)
		}
		if got.Action != actShot || got.IfIndex != 0 || got.Mark != 0 || !bytes.Equal(got.Frame, want) {
			return "want an untouched frame dropped"
		}
		return ""
	}
	for _, l := range to {
		outer := l.IfIndex
		if outer == 0 {
			outer = l.Tunnel.Device
		}
		if outer != got.IfIndex || l.Tunnel.VNI != got.VNI {
			continue
		}
		if wantMark := reason == ToClient && l.IfIndex != 0; wantMark && got.Mark != mark || !wantMark && got.Mark != 0 {
			return "want the mark of the endpoint port, and only of that"
		}
		want := bytes.Clone(sent)
		if reason == Anycast {
			copy(want, l.MAC)
		}
		if got.Action != actRedirect || !bytes.Equal(got.Frame, want) {
			return "want a redirected frame, rewritten if anycast"
		}
		return ""
	}
	return "not among the legs that may be chosen"
}
