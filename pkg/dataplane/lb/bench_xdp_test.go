// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/packet"
	"github.com/weft-project/weft/internal/testutil/bpftest"
)

// BenchmarkXDP measures what XDP does itself, a packet of a flood and a question
// after an address, beside what the program at tcx needs for the same packets, each
// net of an empty program of its kind. What the kernel saves with XDP, the making of
// an sk_buff, is not in it. A question is one no more when it has been answered: it
// is passed once in each test run, whose own cost weighs more then.
func BenchmarkXDP(b *testing.B) {
	l := newLB(b, Config{Mode: ModeTCX})
	withXDP(b, l)
	fixtureRules(b, l)
	nothing, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, xdpPass), asm.Return()},
	})
	check(b, err)
	defer func() { check(b, nothing.Close()) }()
	ask := packet.ARP{Op: packet.ARPRequest, SenderMAC: routerMAC, SenderIP: fixSrc4, TargetIP: fixVIP4}
	for _, c := range []struct {
		name   string
		frame  []byte
		want   Reason
		repeat int
	}{
		{"no_flow/IPv4", request(toUs, fixFamilies[0].in, packet.TCP, 81), DropNoFlow, 1000},
		{"no_flow/IPv6", request(toUs, fixFamilies[1].in, packet.TCP, 81), DropNoFlow, 1000},
		{"arp", ask.Frame(packet.Ethernet{Dst: broadcast, Src: routerMAC}), ARPAnswered, 1},
	} {
		if v, _, err := l.testIn(append([]byte{}, c.frame...)); err != nil || v.Reason != c.want {
			b.Fatal(v.Reason, err)
		}
		b.Run(c.name+"/xdp", func(b *testing.B) {
			benchBeside(b, func(p *ebpf.Program) (time.Duration, error) {
				_, d, err := p.Benchmark(c.frame, c.repeat, nil)
				return d, err
			}, nothing, l.objs.xdp)
		})
		b.Run(c.name+"/tcx", func(b *testing.B) {
			benchBeside(b, func(p *ebpf.Program) (d time.Duration, err error) {
				err = netns.Do(l.cfg.NetNS, func() error {
					d, err = bpftest.Time(p, c.frame, l.id.ifindex, c.repeat)
					return err
				})
				return d, err
			}, bpftest.Empty(b), l.objs.Lb)
		})
	}
}

// benchBeside times a program in turn with an empty one.
func benchBeside(b *testing.B, run func(*ebpf.Program) (time.Duration, error), empty, program *ebpf.Program) {
	var base, full []float64
	for b.Loop() {
		for p, list := range map[*ebpf.Program]*[]float64{empty: &base, program: &full} {
			d, err := run(p)
			check(b, err)
			*list = append(*list, float64(d))
		}
	}
	b.ReportMetric(bpftest.Median(full), "ns/pkt")
	b.ReportMetric(bpftest.Median(full)-bpftest.Median(base), "net-ns/pkt")
	b.ReportMetric(0, "ns/op")
}
