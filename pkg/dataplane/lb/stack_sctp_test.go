// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/internal/packet"
	"github.com/weft-project/weft/internal/testutil"
)

// Chunks of SCTP (RFC 9260, section 3).
const (
	sctpData       = 0
	sctpInit       = 1
	sctpInitAck    = 2
	sctpCookieEcho = 10
)

// sctpPacket builds a packet of one chunk, with its CRC32c.
func sctpPacket(sport, dport uint16, tag uint32, chunk uint8, value []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, sport)
	b = binary.BigEndian.AppendUint16(b, dport)
	b = binary.BigEndian.AppendUint32(b, tag)
	b = append(b, 0, 0, 0, 0, chunk, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(4+len(value)))
	b = append(b, value...)
	b = append(b, make([]byte, -len(b)&3)...)
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// TestSCTP passes the packets of associations, which not every kernel can speak,
// as frames: each arrives at the target of its flow, and each answer at the client,
// as it was sent but for what a router changes, and the port if it is translated.
func TestSCTP(t *testing.T) {
	for name, inside := range map[string]uint16{"same port": 3868, "translated": 13868} {
		t.Run(name, func(t *testing.T) {
			s := newStacks(t, 3)
			s.setRules(t, func(r *Rules) {
				for _, vip := range r.VIPs {
					if inside != 3868 {
						r.NATs = append(r.NATs, classify.NAT{VIP: vip, Protocol: packet.SCTP, Port: 3868, TargetPort: inside})
					}
				}
			})
			// The client's stack sends nothing, so nobody has heard of it.
			for _, gateway := range []netip.Addr{client4, client6} {
				check(t, testutil.Handle(t, s.ns).AddNeighbour(s.lb.id.ifindex, gateway, routerMAC[:]))
			}
			eachVersion(t, func(t *testing.T, v ipVersion) { testSCTP(t, s, v, inside) })
			s.lossless(t)
		})
	}
}

func testSCTP(t *testing.T, s *stacks, v ipVersion, inside uint16) {
	const outside = 3868
	r := rand.New(rand.NewPCG(seed(t), 0))
	client := openWire(t, s.client, "ext")
	var targets []*wire
	for _, ns := range s.targets {
		targets = append(targets, openWire(t, ns, "nsm-1"))
	}
	there, back := packet.IP{Src: v.client, Dst: v.vip}, packet.IP{Src: v.vip, Dst: v.client}
	hops := make(map[int]int)
	for flow := range 40 {
		port := uint16(20000 + flow)
		at := s.targetOf(v.client, v.vip, packet.SCTP, port, outside)
		hops[at]++
		for _, step := range []struct{ ask, answer uint8 }{{sctpInit, sctpInitAck}, {sctpCookieEcho, sctpData}, {sctpData, sctpData}} {
			tag, value := r.Uint32(), randomBytes(r, 16+r.IntN(1400))
			what := fmt.Sprintf("flow %d, chunk %d", flow, step.ask)
			passFrame(t, what, client, targets[at],
				there.Packet(packet.Ethernet{Dst: extMAC, Src: routerMAC}, packet.SCTP, sctpPacket(port, outside, tag, step.ask, value)),
				aged(there).Packet(packet.Ethernet{Dst: targetMAC(at), Src: legMAC(at)}, packet.SCTP, sctpPacket(port, inside, tag, step.ask, value)))
			passFrame(t, what+", answer", targets[at], client,
				back.Packet(packet.Ethernet{Dst: legMAC(at), Src: targetMAC(at)}, packet.SCTP, sctpPacket(inside, port, tag, step.answer, value)),
				aged(back).Packet(packet.Ethernet{Dst: routerMAC, Src: extMAC}, packet.SCTP, sctpPacket(outside, port, tag, step.answer, value)))
		}
	}
	if len(hops) != len(targets) {
		t.Errorf("flows per target: %v", hops)
	}
}

// aged is the header after a hop.
func aged(ip packet.IP) packet.IP {
	ip.TTL = 63
	return ip
}

// passFrame sends a frame of SCTP on one wire and checks what comes out of another.
func passFrame(t *testing.T, what string, from, to *wire, frame, want []byte) {
	t.Helper()
	from.send(t, frame)
	_, got := to.receive(t, func(p packet.Packet) bool { return p.Proto == packet.SCTP })
	if !bytes.Equal(want, got) {
		t.Fatalf("%s: (-want +got)\n%s", what, cmp.Diff(want, got))
	}
}

func randomBytes(r *rand.Rand, size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// addrPort is short for a port of an address.
func addrPort(a netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a, port) }
