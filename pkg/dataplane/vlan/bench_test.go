// SPDX-License-Identifier: Apache-2.0

package vlan

import (
	"testing"

	"github.com/cilium/ebpf"

	"github.com/weft-project/weft/internal/testutil/bpftest"
)

// BenchmarkProgram times the programs beside an empty one, in the same run. A
// frame keeps its tag, or has none: what is popped is not there the next time.
func BenchmarkProgram(b *testing.B) {
	const (
		lo      = 1
		repeats = 100_000
	)
	for _, c := range []struct {
		name    string
		port    Port
		program func(*VLAN) *ebpf.Program
		frame   []byte
	}{
		{"to-wire-untagged", Port{lo, base, 0, mac(1)}, func(v *VLAN) *ebpf.Program { return v.objects.VlPort }, frame(mac(9), mac(1))},
		{"to-port", Port{2000001, lo, 0, mac(1)}, func(v *VLAN) *ebpf.Program { return v.objects.VlBase }, frame(mac(1), mac(9))},
		{"left-to-host", Port{2000001, lo, 0, mac(1)}, func(v *VLAN) *ebpf.Program { return v.objects.VlBase }, frame(mac(2), mac(9))},
		{"other-vlan", Port{2000001, lo, 100, mac(1)}, func(v *VLAN) *ebpf.Program { return v.objects.VlBase }, frame(mac(2), mac(9))},
	} {
		b.Run(c.name, func(b *testing.B) {
			v := unattached(b)
			must(b, v.write(c.port))
			empty := bpftest.Empty(b)
			var mine, floor []float64
			for b.Loop() {
				t, err := bpftest.Time(c.program(v), c.frame, lo, repeats)
				must(b, err)
				e, err := bpftest.Time(empty, c.frame, lo, repeats)
				must(b, err)
				mine, floor = append(mine, float64(t)), append(floor, float64(e))
			}
			report(b, mine, floor)
		})
	}
}

// BenchmarkTag times what a tag costs: single runs of the programs, because a run
// leaves the frame changed, beside single runs of an empty one and of the same way
// without a tag. The tag that is popped is in the frame, as a test run cannot put
// it where a received packet has it.
func BenchmarkTag(b *testing.B) {
	const lo = 1
	for _, c := range []struct {
		name    string
		port    Port
		program func(*VLAN) *ebpf.Program
		frame   []byte
	}{
		{"to-wire", Port{lo, base, 0, mac(1)}, func(v *VLAN) *ebpf.Program { return v.objects.VlPort }, frame(mac(9), mac(1))},
		{"to-wire-push", Port{lo, base, 100, mac(1)}, func(v *VLAN) *ebpf.Program { return v.objects.VlPort }, frame(mac(9), mac(1))},
		{"to-port", Port{2000001, lo, 0, mac(1)}, func(v *VLAN) *ebpf.Program { return v.objects.VlBase }, frame(mac(1), mac(9))},
		{"to-port-pop", Port{2000001, lo, 100, mac(1)}, func(v *VLAN) *ebpf.Program { return v.objects.VlBase }, frame(mac(1), mac(9), 100)},
	} {
		b.Run(c.name, func(b *testing.B) {
			v := unattached(b)
			must(b, v.write(c.port))
			empty := bpftest.Empty(b)
			var mine, floor []float64
			for b.Loop() {
				t, err := bpftest.Time(c.program(v), c.frame, lo, 1)
				must(b, err)
				e, err := bpftest.Time(empty, c.frame, lo, 1)
				must(b, err)
				mine, floor = append(mine, float64(t)), append(floor, float64(e))
			}
			counters, err := v.Counters()
			must(b, err)
			if counters[ToWire]+counters[ToPort] != uint64(len(mine)) {
				b.Fatalf("%d runs: %v", len(mine), counters)
			}
			report(b, mine, floor)
		})
	}
}

// report reports the medians, of the loop nothing.
func report(b *testing.B, mine, floor []float64) {
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(bpftest.Median(mine), "ns/packet")
	b.ReportMetric(bpftest.Median(floor), "ns/empty")
	b.ReportMetric(bpftest.Median(mine)-bpftest.Median(floor), "ns/net")
}
