// SPDX-License-Identifier: Apache-2.0

package xconnect

import (
	"bytes"
	"math/rand/v2"
	"net"
	"testing"
	"time"
)

// model is the cross-connect in plain Go. For a choice by flow hash it names
// all legs that may be chosen; the kernel's hash has a secret seed.
type model struct {
	clients   map[int][]Leg
	endpoints map[int]int
}

func (m model) decide(ifindex int, f []byte) (reason Reason, to []Leg) {
	if to, ok := m.endpoints[ifindex]; ok {
		return ToClient, []Leg{{IfIndex: to}}
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
	m := model{clients: map[int][]Leg{}, endpoints: map[int]int{}}
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
	switch r.IntN(4) {
	case 0:
		must(t, x.Delete(ifindex))
	case 1:
		m.endpoints[ifindex] = 1 + r.IntN(12)
		must(t, x.SetEndpoint(ifindex, m.endpoints[ifindex], uint32(ifindex)))
	default:
		n := r.IntN(5)
		if r.IntN(5) == 0 {
			n = r.IntN(MaxLegs + 1)
		}
		set := make([]Leg, 0, n)
		for i := range r.Perm(n) {
			set = append(set, Leg{IfIndex: 1000 + r.IntN(1000)*64 + i, MAC: mac(byte(i)), Local: r.IntN(3) == 0})
		}
		m.clients[ifindex] = set
		must(t, x.SetClient(ifindex, set))
	}
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
	if got.Reason != reason {
		return "want reason " + reason.String()
	}
	if reason != ToClient {
		mark = 0
	}
	if got.Mark != mark {
		return "want the mark of the endpoint port, and only of that"
	}
	if reason.Dropped() {
		if got.Action != actShot || got.IfIndex != 0 || !bytes.Equal(got.Frame, sent) {
			return "want an untouched frame dropped"
		}
		return ""
	}
	for _, l := range to {
		if l.IfIndex != got.IfIndex {
			continue
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
