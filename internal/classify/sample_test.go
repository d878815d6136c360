// SPDX-License-Identifier: Apache-2.0

package classify_test

import (
	"errors"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/internal/classify/model"
	"github.com/weft-project/weft/internal/packet"
	"github.com/weft-project/weft/internal/testutil/bpftest"
)

// decide says by the model which rule's counters a packet gets, 0 for none.
func decide(set classify.Set, p classify.Packet) uint32 {
	mac := packet.MAC{2, 0, 0, 0, 0, 1}
	w := model.World{Set: set, MAC: mac}
	ip := packet.IP{Src: p.Src, Dst: p.Dst}
	return w.Decide(ip.Packet(packet.Ethernet{Dst: mac}, p.Protocol, p.Header)).Flow
}

// TestSampleAgrees has samples of random rules reach their rule by the model, and
// no random packet reach a rule that is said to be shadowed.
func TestSampleAgrees(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("WEFT_TEST_SEED"); text != "" {
		seed, _ = strconv.ParseUint(text, 10, 64)
	}
	t.Logf("WEFT_TEST_SEED=%d", seed)
	r := bpftest.NewRandom(seed, 7)
	var found, shadowed, gaveUp int
	for range 150 {
		w := r.World([]int{1, 5, 30, 100}[r.IntN(4)], 3, 3, packet.MAC{2, 0, 0, 0, 0, 1})
		none := map[uint32]bool{}
		for i := range w.Set.Rules {
			reached := false
			for _, vip := range w.Set.Rules[i].VIPs {
				p, err := w.Set.Sample(i, vip)
				switch {
				case err == nil:
					found, reached = found+1, true
					if got := decide(w.Set, p); got != uint32(i+1) {
						t.Fatalf("%+v\ngets rule %d, want %d: %+v", p, got, i+1, w.Set.Rules[i])
					}
					again, err := w.Set.Sample(i, vip)
					if err != nil || again.Src != p.Src || !slices.Equal(again.Header, p.Header) {
						t.Fatalf("%+v, then %+v, %v", p, again, err)
					}
				case errors.Is(err, classify.ErrSampleEffort):
					gaveUp, reached = gaveUp+1, true
				case errors.Is(err, classify.ErrShadowed):
					shadowed++
				default:
					t.Fatal(err)
				}
			}
			none[uint32(i+1)] = !reached
		}
		for range 300 {
			for _, frame := range r.Frames(packet.Ethernet{Dst: w.MAC, Src: packet.MAC{2}}, false) {
				if parsed, err := packet.Parse(frame); err != nil || parsed.Fragment.Later() || parsed.IsICMP() {
					continue
				}
				if d := w.Decide(frame); none[d.Flow] {
					t.Fatalf("rule %d is shadowed, but % x reaches it: %+v", d.Flow, frame, w.Set.Rules[d.Flow-1])
				}
			}
		}
	}
	t.Logf("%d found, %d shadowed, %d given up", found, shadowed, gaveUp)
	if found < 100 || shadowed == 0 || gaveUp > found/100 {
		t.Errorf("%d found, %d shadowed, %d given up", found, shadowed, gaveUp)
	}
}

// TestSample has rules whose only packets are easy to miss.
func TestSample(t *testing.T) {
	vip := netip.MustParsePrefix("20.0.0.0/24")
	all := []netip.Prefix{vip}
	port := func(first, last uint16) []classify.PortRange { return []classify.PortRange{{First: first, Last: last}} }
	bytes := func(width uint8, value uint32) []classify.ByteMatch {
		return []classify.ByteMatch{{Protocol: packet.UDP, Offset: 8, Width: width, Value: value}}
	}
	for name, c := range map[string]struct {
		above []classify.Rule
		want  error
	}{
		"alone": {},
		"one port is left": {above: []classify.Rule{
			{DestinationPorts: port(0, 1233)}, {DestinationPorts: port(1235, 65535)},
		}},
		"one address is left": {above: []classify.Rule{
			{VIPs: []netip.Prefix{netip.MustParsePrefix("20.0.0.0/25")}}, {VIPs: []netip.Prefix{netip.MustParsePrefix("20.0.0.128/26")}},
			{VIPs: []netip.Prefix{netip.MustParsePrefix("20.0.0.192/27")}}, {VIPs: []netip.Prefix{netip.MustParsePrefix("20.0.0.224/28")}},
			{VIPs: []netip.Prefix{netip.MustParsePrefix("20.0.0.240/29")}}, {VIPs: []netip.Prefix{netip.MustParsePrefix("20.0.0.248/30")}},
			{VIPs: []netip.Prefix{netip.MustParsePrefix("20.0.0.252/31")}}, {VIPs: []netip.Prefix{netip.MustParsePrefix("20.0.0.254/32")}},
		}},
		"no port is left":      {[]classify.Rule{{DestinationPorts: port(0, 40000)}, {DestinationPorts: port(40001, 65535)}}, classify.ErrShadowed},
		"all is above":         {[]classify.Rule{{}}, classify.ErrShadowed},
		"no source is left":    {[]classify.Rule{{Sources: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/1")}}, {Sources: []netip.Prefix{netip.MustParsePrefix("128.0.0.0/1")}}}, classify.ErrShadowed},
		"other bytes are left": {above: []classify.Rule{{Protocols: []uint8{packet.TCP, packet.SCTP}}, {Protocols: []uint8{packet.UDP}, ByteMatches: bytes(4, 0)}}},
	} {
		rule := classify.Rule{Name: "low", Priority: -1, VIPs: all, Flow: 99}
		set := classify.Set{VIPs: all, Rules: []classify.Rule{rule}}
		for i, r := range c.above {
			if r.Name = strconv.Itoa(i); r.VIPs == nil {
				r.VIPs = all
			}
			set.Rules = append(set.Rules, r)
		}
		p, err := set.Sample(0, vip)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if err == nil && decide(set, p) != 99 {
			t.Errorf("%s: %+v gets another rule", name, p)
		}
	}
}
