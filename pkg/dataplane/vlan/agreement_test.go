// SPDX-License-Identifier: Apache-2.0

package vlan

import (
	"bytes"
	"math/rand/v2"
	"net"
	"testing"
	"time"
)

// model is the programs in plain Go.
type model map[int]Port

func (m model) station(base, vlan int, mac net.HardwareAddr) int {
	for _, p := range m {
		if p.Base == base && p.VLAN == vlan && bytes.Equal(p.MAC, mac) {
			return p.IfIndex
		}
	}
	return 0
}

func (m model) members(base, vlan int) (n int) {
	for _, p := range m {
		if p.Base == base && p.VLAN == vlan {
			n++
		}
	}
	return n
}

// randomTagged is a frame and its outermost tag: -1 a service tag, 0 none.
func randomTagged(r *rand.Rand) (dst, src net.HardwareAddr, tag int, f []byte) {
	macs := []net.HardwareAddr{broadcast, multicast, mac(90)}
	for i := range byte(6) {
		macs = append(macs, mac(i))
	}
	dst, src = macs[r.IntN(len(macs))], macs[2+r.IntN(len(macs)-2)]
	var tags []int
	if r.IntN(3) > 0 {
		tags = append(tags, []int{0, 1, 2, 4094}[r.IntN(4)])
		if r.IntN(8) == 0 {
			tags[0] = -1 - r.IntN(2)
		}
		tag = max(tags[0], -1)
		if tags[0] >= 0 && r.IntN(2) == 0 {
			tags[0] |= r.IntN(8) << 13
		}
		if r.IntN(4) == 0 {
			tags = append(tags, 1+r.IntN(4094))
		}
	}
	return dst, src, tag, frame(dst, src, tags...)
}

func (m model) fromPort(ifindex, tag int, dst net.HardwareAddr) (reason Reason, to, copies, pushed int) {
	p, ok := m[ifindex]
	switch {
	case !ok:
		return NoPort, 0, 0, -1
	case p.VLAN == 0 && tag != 0:
		return Tagged, 0, 0, -1
	}
	pushed = p.VLAN
	if p.VLAN == 0 {
		pushed = -1
	}
	if dst[0]&1 != 0 {
		return FloodOut, p.Base, m.members(p.Base, p.VLAN) - 1, pushed
	}
	if to := m.station(p.Base, p.VLAN, dst); to != 0 {
		return ToSibling, to, 0, -1
	}
	return ToWire, p.Base, 0, pushed
}

func (m model) fromBase(base, tag int, dst, src net.HardwareAddr) (reason Reason, to, copies int) {
	if tag < 0 || m.members(base, tag) == 0 {
		return PassVLAN, 0, 0
	}
	if dst[0]&1 != 0 {
		if m.station(base, tag, src) != 0 {
			return Looped, 0, 0
		}
		return FloodIn, 0, m.members(base, tag)
	}
	if to := m.station(base, tag, dst); to != 0 {
		return ToPort, to, 0
	}
	if tag == 0 {
		return PassHost, 0, 0
	}
	return UnknownMAC, 0, 0
}

func TestAgreesWithModel(t *testing.T) {
	v := unattached(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	m := model{}
	const firstPort, firstBase = 2000000, 1000000
	for step := range 20000 {
		if step%20 == 0 {
			m.change(t, v, r, firstPort+r.IntN(8), firstBase+r.IntN(2))
		}
		dst, src, tag, f := randomTagged(r)
		if r.IntN(2) == 0 {
			ifindex := firstPort + r.IntN(8)
			reason, to, copies, pushed := m.fromPort(ifindex, tag, dst)
			got := run(t, v.objects.VlPort, ifindex, f)
			if got.Reason != reason || got.IfIndex != to || got.Copies != copies || got.Tag != pushed {
				t.Fatalf("step %d, port %d, frame %x, ports %v: got %v, want %v, to %d, %d copies, tag %d", step, ifindex, f, m, got, reason, to, copies, pushed)
			}
			continue
		}
		base := firstBase + r.IntN(2)
		reason, to, copies := m.fromBase(base, tag, dst, src)
		got := run(t, v.objects.VlBase, base, f)
		if got.Reason != reason || got.IfIndex != to || got.Copies != copies {
			t.Fatalf("step %d, base %d, frame %x, ports %v: got %v, want %v, to %d, %d copies", step, base, f, m, got, reason, to, copies)
		}
	}
}

// change sets or removes a port, in the programs and in the model.
func (m model) change(t *testing.T, v *VLAN, r *rand.Rand, ifindex, base int) {
	t.Helper()
	old, had := m[ifindex]
	if had {
		delete(m, ifindex)
		delete(v.ports, ifindex)
		must(t, v.objects.VlPorts.Delete(uint32(ifindex)), v.leave(old, Port{}))
	}
	p := Port{IfIndex: ifindex, Base: base, VLAN: []int{0, 1, 2, 4094}[r.IntN(4)], MAC: mac(byte(r.IntN(6)))}
	if r.IntN(4) == 0 || m.station(p.Base, p.VLAN, p.MAC) != 0 {
		return
	}
	m[ifindex] = p
	must(t, v.write(p))
}
