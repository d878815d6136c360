// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/packet"
	"github.com/weft-project/weft/internal/testutil/bpftest"
)

// benchRepeat is how often one test run repeats the program on a packet. The
// program decrements the TTL of the same packet each time, so that 254 is the
// most that keeps every repeat a packet to forward.
const benchRepeat = 200

// BenchmarkProgram measures the whole program, net of an empty one that runs in
// turn with it. Rules name a source network, ports and protocols; hard is all of
// them on one VIP, spread is ten to a VIP, any is one rule of nothing but a VIP.
func BenchmarkProgram(b *testing.B) {
	for _, n := range []int{1, 10, 100, 1000, 10000} {
		for _, shape := range []string{"any", "hard", "spread"} {
			if n == 1 && shape == "spread" || n > 1 && shape == "any" {
				continue
			}
			for _, v := range []string{"IPv4", "IPv6"} {
				b.Run(fmt.Sprintf("rules=%d/%s/%s", n, shape, v), func(b *testing.B) {
					benchProgram(b, n, shape, v == "IPv4")
				})
			}
		}
	}
}

func benchProgram(b *testing.B, n int, shape string, v4 bool) {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	l := newLB(b, Config{})
	rules, flows := benchRules(r, n, shape == "spread", v4)
	if shape == "any" {
		rules.Flows[0] = classify.Rule{Name: "any", VIPs: rules.VIPs}
	}
	benchTargets(b, l, rules)
	for _, proto := range []uint8{packet.TCP, packet.UDP} {
		name := map[uint8]string{packet.TCP: "TCP", packet.UDP: "UDP"}[proto]
		b.Run(name, func(b *testing.B) {
			frames := make([][]byte, len(flows))
			for i, f := range flows {
				frames[i] = f(proto)
			}
			measure(b, l, frames)
		})
	}
}

// benchTargets puts rules in force, and 100 targets behind stream 0.
func benchTargets(b *testing.B, l *LB, rules Rules) {
	check(b, l.SetRules(rules))
	table, members := make([]uint16, 65537), make([]uint16, 100)
	for i := range table {
		table[i] = uint16(1 + i%100)
	}
	for i := range members {
		members[i] = uint16(i + 1)
		check(b, l.SetTarget(members[i], Target{
			IfIndex: 1, MAC: net.HardwareAddr(routerMAC[:]), LegMAC: net.HardwareAddr(extMAC[:]), MTU: 1500,
		}))
	}
	check(b, l.SetMembers(0, members))
	check(b, l.SetTable(0, table))
}

// measure reports the nanoseconds that the program takes for frames that it
// forwards, net of an empty program in turn with it.
func measure(b *testing.B, l *LB, frames [][]byte) {
	empty := bpftest.Empty(b)
	for _, frame := range frames {
		if v, _, err := l.testIn(frame); err != nil || v.Reason != Forwarded {
			b.Fatal(v.Reason, err)
		}
	}
	var base, full []float64
	for i := 0; b.Loop(); i++ {
		frame := frames[i%len(frames)]
		base = append(base, timeProgram(b, l, empty, frame, benchRepeat))
		full = append(full, timeProgram(b, l, l.objs.Lb, frame, benchRepeat))
	}
	b.ReportMetric(bpftest.Median(full), "ns/pkt")
	b.ReportMetric(bpftest.Median(full)-bpftest.Median(base), "net-ns/pkt")
	b.ReportMetric(0, "ns/op")
}

// benchRules makes n rules that differ in source, destination ports and
// protocol, and packets that match them.
func benchRules(r *rand.Rand, n int, spread, v4 bool) (Rules, []func(proto uint8) []byte) {
	var rules Rules
	var flows []func(uint8) []byte
	for i := range n {
		vip, src := byte(0), netip.AddrFrom4([4]byte{10, byte(r.Uint32()), byte(r.Uint32()), 7})
		if spread {
			vip = byte(i / 10 % 200)
		}
		dst := netip.AddrFrom4([4]byte{20, 0, byte(i / 2000), vip + 1})
		bits := 24
		if !v4 {
			dst, src, bits = to6(dst), to6(src), 120
		}
		p := netip.PrefixFrom(dst, dst.BitLen())
		source, _ := src.Prefix(bits)
		port := uint16(1024 + r.IntN(60000))
		rules.VIPs = append(rules.VIPs, p)
		rules.Flows = append(rules.Flows, classify.Rule{
			Name: fmt.Sprintf("rule-%05d", i), Priority: int32(r.IntN(1000)),
			VIPs: []netip.Prefix{p}, Sources: []netip.Prefix{source},
			DestinationPorts: []classify.PortRange{{First: port, Last: port + uint16(r.IntN(100))}},
			Protocols:        []uint8{packet.TCP, packet.UDP},
		})
		if len(flows) < 256 {
			ip := packet.IP{Src: src, Dst: dst, TTL: 255}
			sport := uint16(r.Uint32())
			flows = append(flows, func(proto uint8) []byte {
				l4 := ip.TCP(sport, port, 2, nil)
				if proto == packet.UDP {
					l4 = ip.UDP(sport, port, make([]byte, 12))
				}
				return ip.Packet(packet.Ethernet{Dst: extMAC, Src: routerMAC}, proto, l4)
			})
		}
	}
	return rules, flows
}

// to6 embeds an IPv4 address in the low bits of 2000::/96.
func to6(a netip.Addr) netip.Addr {
	v4 := a.As4()
	return netip.AddrFrom16([16]byte{0: 0x20, 12: v4[0], 13: v4[1], 14: v4[2], 15: v4[3]})
}

// timeProgram returns ns per packet of one test run.
func timeProgram(t testing.TB, l *LB, p *ebpf.Program, frame []byte, repeat int) (ns float64) {
	err := netns.Do(l.cfg.NetNS, func() error {
		d, err := bpftest.Time(p, frame, l.id.ifindex, repeat)
		ns = float64(d)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return ns
}

// BenchmarkSetTable switches between two tables of the default size.
func BenchmarkSetTable(b *testing.B) {
	l := newLB(b, Config{})
	table := make([]uint16, DefaultMaxTableSize)
	for b.Loop() {
		if err := l.SetTable(0, table); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSetRules compiles and publishes rules on one VIP.
func BenchmarkSetRules(b *testing.B) {
	for _, n := range []int{1, 100, 1000, 10000} {
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			l := newLB(b, Config{})
			rules, _ := benchRules(rand.New(rand.NewPCG(1, 1)), n, false, true)
			for b.Loop() {
				if err := l.SetRules(rules); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
