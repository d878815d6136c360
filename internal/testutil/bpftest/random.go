// SPDX-License-Identifier: Apache-2.0

package bpftest

import (
	"math/rand/v2"
	"net/netip"

	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/internal/packet"
)

// Random makes rule sets and packets out of small pools of addresses, ports and
// sizes, so that prefixes nest, ranges overlap and packets match now and then.
type Random struct {
	*rand.Rand
	set   classify.Set // the last one
	focus focus        // of the packet that is being made
	id    uint32       // of the packet fragmented last; the next 65535 have others
}

// NewRandom returns the source of a seed.
func NewRandom(seed1, seed2 uint64) *Random {
	return &Random{Rand: rand.New(rand.NewPCG(seed1, seed2))}
}

func (r *Random) pick(p float64) bool { return r.Float64() < p }

func (r *Random) addr(net4 [2]byte, net6 byte, v4 bool) netip.Addr {
	host := [2]byte{byte(r.IntN(3)), byte(r.IntN(12))}
	if v4 {
		return netip.AddrFrom4([4]byte{net4[0], net4[1], host[0], host[1]})
	}
	return netip.AddrFrom16([16]byte{0: 0x20, 1: net6, 7: byte(r.IntN(2)), 14: host[0], 15: host[1]})
}

func (r *Random) vip(v4 bool) netip.Addr { return r.addr([2]byte{20, 0}, 0, v4) }

func (r *Random) client(v4 bool) netip.Addr { return r.addr([2]byte{10, 1}, 1, v4) }

func (r *Random) prefix(a netip.Addr, host float64) netip.Prefix {
	bits := a.BitLen()
	if !r.pick(host) {
		bits -= r.IntN(bits/2 + 1)
	}
	return netip.PrefixFrom(a, bits).Masked()
}

func (r *Random) port() uint16 {
	if r.pick(0.1) {
		return uint16(r.Uint32())
	}
	return uint16(r.IntN(8)*256 + r.IntN(8))
}

func (r *Random) ports(p float64) (list []classify.PortRange) {
	for r.pick(p) {
		first := r.port()
		last := first
		if r.pick(0.5) {
			last += uint16(min(r.IntN(1000), 65535-int(first)))
		}
		list = append(list, classify.PortRange{First: first, Last: last})
		p /= 2
	}
	return list
}

func (r *Random) protocol() uint8 {
	return [...]uint8{packet.TCP, packet.UDP, packet.SCTP}[r.IntN(3)]
}

func (r *Random) byteMatch() classify.ByteMatch {
	m := classify.ByteMatch{
		Protocol: r.protocol(), Width: []uint8{1, 2, 4}[r.IntN(3)],
		Offset: uint8(r.IntN(classify.MaxByteOffset + 1)),
	}
	if r.pick(0.5) {
		m.Offset = uint8(r.IntN(24))
	}
	if r.pick(0.8) { // few bits, to match at times
		m.Mask = 1 << r.IntN(8*int(m.Width))
		m.Value = r.Uint32() & m.Mask
	}
	return m
}

// MTU is one that packets are about as long as; 0 means unlimited.
func (r *Random) MTU() uint16 {
	switch {
	case r.pick(0.5):
		return 0
	case r.pick(0.2):
		return uint16(68 + r.IntN(1433))
	}
	return mtus[r.IntN(len(mtus))]
}

var mtus = [...]uint16{68, 100, 296, 576, 1280, 1400, 1500}
