// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/internal/packet"
	"github.com/weft-project/weft/internal/testutil/bpftest"
)

// extraRules is one rule of a VIP of each family, and frames of many flows to
// them.
func extraRules(n int) (Rules, func(v4 bool, proto uint8) [][]byte) {
	vips := []netip.Prefix{netip.PrefixFrom(fixVIP4, 32), netip.PrefixFrom(fixVIP6, 128)}
	rules := Rules{VIPs: vips, Flows: []classify.Rule{{Name: "any", VIPs: vips}}}
	return rules, func(v4 bool, proto uint8) [][]byte {
		var frames [][]byte
		for i := range n {
			ip := packet.IP{Src: fixSrc4, Dst: fixVIP4, TTL: 255}
			if !v4 {
				ip.Src, ip.Dst = fixSrc6, fixVIP6
			}
			l4 := map[uint8]func() []byte{
				packet.TCP:  func() []byte { return ip.TCP(uint16(i), 80, 2, nil) },
				packet.UDP:  func() []byte { return ip.UDP(uint16(i), 80, make([]byte, 12)) },
				packet.SCTP: func() []byte { return ip.SCTP(uint16(i), 80, make([]byte, 12)) },
			}[proto]()
			frames = append(frames, ip.Packet(toUs, proto, l4))
		}
		return frames
	}
}

// BenchmarkExtra measures what optional functions add to one rule: nothing,
// port translation, affinity (of flows that are pinned), an MSS clamp that finds
// nothing to do, and somebody who observes one packet of 1,000.
func BenchmarkExtra(b *testing.B) {
	rules, frames := extraRules(256)
	nat := rules
	for _, vip := range rules.VIPs {
		for _, proto := range []uint8{packet.TCP, packet.UDP, packet.SCTP} {
			// A test run passes its own result through the program again: each
			// time, one of the two has something to do.
			nat.NATs = append(nat.NATs,
				classify.NAT{VIP: vip, Protocol: proto, Port: 80, TargetPort: 8080},
				classify.NAT{VIP: vip, Protocol: proto, Port: 8080, TargetPort: 80})
		}
	}
	clamp, pinned := rules, rules
	clamp.MSSClamp, pinned.Affinity = true, 1<<16
	for _, c := range []struct {
		name  string
		rules Rules
		proto uint8
	}{
		{"none", rules, packet.TCP}, {"nat/TCP", nat, packet.TCP}, {"nat/UDP", nat, packet.UDP}, {"nat/SCTP", nat, packet.SCTP},
		{"mss-clamp", clamp, packet.TCP}, {"affinity", pinned, packet.TCP},
	} {
		for _, v4 := range []bool{true, false} {
			b.Run(fmt.Sprintf("%s/IPv%d", c.name, map[bool]int{true: 4, false: 6}[v4]), func(b *testing.B) {
				l := newLB(b, Config{})
				benchTargets(b, l, c.rules)
				measure(b, l, frames(v4, c.proto))
			})
		}
	}
}

// BenchmarkPin measures a packet of a flow that is not pinned yet beside the same
// packet without affinity, and the memory that a flow takes. Every packet is
// measured once, so all that it needs is cold.
func BenchmarkPin(b *testing.B) {
	const flows = 1 << 16
	rules, frames := extraRules(flows)
	for _, v4 := range []bool{true, false} {
		b.Run(fmt.Sprintf("IPv%d", map[bool]int{true: 4, false: 6}[v4]), func(b *testing.B) {
			all := frames(v4, packet.UDP)
			without, with := newLB(b, Config{}), newLB(b, Config{})
			benchTargets(b, without, rules)
			pinned := rules
			pinned.Affinity = flows
			benchTargets(b, with, pinned)
			var base, full []float64
			for i := 0; b.Loop(); i++ {
				frame := all[i%len(all)]
				base = append(base, timeProgram(b, without, without.objs.Lb, frame, 1))
				full = append(full, timeProgram(b, with, with.objs.Lb, frame, 1))
			}
			b.ReportMetric(bpftest.Median(full)-bpftest.Median(base), "ns/new-flow")
			b.ReportMetric(float64(memory(b, with.objs.LbPins))/flows, "B/flow")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// memory is what the kernel says that a map takes.
func memory(t testing.TB, m *ebpf.Map) int {
	info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", m.FD()))
	check(t, err)
	for line := range bytes.Lines(info) {
		if name, value, ok := bytes.Cut(line, []byte(":")); ok && string(name) == "memlock" {
			n, err := strconv.Atoi(string(bytes.TrimSpace(value)))
			check(t, err)
			return n
		}
	}
	t.Fatalf("no memory of %s in %s", m, info)
	return 0
}
