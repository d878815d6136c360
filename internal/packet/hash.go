// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"encoding/binary"
	"net/netip"
)

// Constants of FlowHash, as in bpf/lib/hash.h.
const (
	hashSeed = 0x9e3779b97f4a7c15
	hashMul1 = 0xbf58476d1ce4e5b9
	hashMul2 = 0x94d049bb133111eb
)

// FlowHash is the hash of a 5-tuple by which the data plane chooses a slot of a
// Maglev table (and, on the way back, a gateway). Protocols other than TCP, UDP
// and SCTP, and packets without ports, hash as TCP from port 0 to port 0.
func FlowHash(src, dst netip.Addr, proto uint8, sport, dport uint16) uint32 {
	h := uint64(hashSeed)
	mix := func(word uint64) {
		h = (h ^ word) * hashMul1
		h ^= h >> 32
	}
	if src.Is4() {
		s, d := src.As4(), dst.As4()
		mix(uint64(binary.LittleEndian.Uint32(s[:])) | uint64(binary.LittleEndian.Uint32(d[:]))<<32)
	} else {
		for _, a := range [...]netip.Addr{src, dst} {
			b := a.As16()
			mix(binary.LittleEndian.Uint64(b[:8]))
			mix(binary.LittleEndian.Uint64(b[8:]))
		}
	}
	index := map[uint8]uint64{UDP: 1, SCTP: 2}[proto]
	mix(uint64(swap(sport)) | uint64(swap(dport))<<16 | index<<32)
	h *= hashMul2
	return uint32((h ^ h>>31) >> 32)
}

// HashPick maps a hash to 0..n-1.
func HashPick(hash, n uint32) uint32 { return uint32(uint64(hash) * uint64(n) >> 32) }

// swap is the port as a little-endian machine loads it.
func swap(port uint16) uint16 { return port<<8 | port>>8 }
