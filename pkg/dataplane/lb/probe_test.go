// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf/link"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/packet"
	"github.com/weft-project/weft/internal/testutil"
)

// probeOf is a packet of a client as Probe takes it.
func probeOf(f fixFamily, proto uint8, port uint16) []byte {
	return request(packet.Ethernet{Src: routerMAC}, f.in, proto, port)
}

// TestProbe sends probes of every kind through what is attached, with and without
// VLAN: what they meet is what packets meet, nothing counts them, nobody gets them.
func TestProbe(t *testing.T) {
	for _, vlan := range []uint16{0, 100} {
		l := newLB(t, Config{VLAN: vlan})
		fixtureRules(t, l)
		check(t, testutil.Handle(t, l.cfg.NetNS).SetUp(l.id.ifindex))
		before := l.counted(t)
		for _, f := range fixFamilies {
			for _, p := range fixProtocols {
				for _, c := range []struct {
					port   uint16
					reason Reason
				}{
					{webPort, Forwarded}, {443, DropNoTarget}, {444, DropNoTarget}, {445, DropNoTarget},
					{rulePort, Forwarded}, {natPort, Forwarded}, {9, DropNoFlow},
				} {
					r, err := l.Probe(probeOf(f, p.proto, c.port))
					check(t, err)
					if !r.Seen || r.Reason != c.reason || r.OK != (c.reason == Forwarded) {
						t.Errorf("VLAN %d, %s port %d: %+v (%v), want %s", vlan, p.name, c.port, r, r.Err(), c.reason)
					}
				}
			}
			other := f
			other.in.Dst = f.in.Src
			r, err := l.Probe(probeOf(other, packet.TCP, webPort))
			check(t, err)
			if !r.Seen || r.Reason != PassNotVIP || r.OK {
				t.Errorf("VLAN %d: no VIP: %+v", vlan, r)
			}
		}
		if after := l.counted(t); after != before {
			t.Errorf("probes are counted: %+v", after)
		}
	}
}

// TestProbeNobodyReceives: a workload sees none of many probes, and a packet from
// outside is none, whatever it has.
func TestProbeNobodyReceives(t *testing.T) {
	top := newTopology(t, 2, 0)
	top.balance(t)
	before, err := top.lb.Counters()
	check(t, err)
	received := func() (n uint64) {
		for _, ns := range top.targets {
			n += packetsIn(t, ns)
		}
		return n
	}
	start := received()
	ip := packet.IP{Src: client4, Dst: routed4}
	seen := map[uint16]int{}
	for i := range 500 {
		r, err := top.lb.Probe(ip.Packet(packet.Ethernet{}, packet.UDP, ip.UDP(uint16(1000+i), 9, nil)))
		check(t, err)
		check(t, r.Err())
		seen[r.Target]++
	}
	if len(seen) != 2 {
		t.Errorf("probes went to %v", seen)
	}
	if n := received() - start; n != 0 {
		t.Errorf("%d packets came to the workloads", n)
	}
	after, err := top.lb.Counters()
	check(t, err)
	if after[Forwarded] != before[Forwarded] {
		t.Errorf("%d probes were counted", after[Forwarded]-before[Forwarded])
	}
}

// TestProbeNotSeen: what is detached by hand, or down, sees nothing.
func TestProbeNotSeen(t *testing.T) {
	l := newLB(t, Config{})
	fixtureRules(t, l)
	h := testutil.Handle(t, l.cfg.NetNS)
	check(t, h.SetUp(l.id.ifindex))
	probe := func() error {
		t.Helper()
		r, err := l.Probe(probeOf(fixFamilies[0], packet.TCP, webPort))
		check(t, err)
		return r.Err()
	}
	check(t, probe())
	check(t, h.SetDown(l.id.ifindex))
	if err := probe(); !errors.Is(err, ErrNotSeen) {
		t.Errorf("interface down: %v", err)
	}
	check(t, h.SetUp(l.id.ifindex))
	check(t, probe())
	detachByHand(t, l.links[0].link)
	if err := probe(); !errors.Is(err, ErrNotSeen) {
		t.Errorf("detached: %v", err)
	}
	check(t, l.Dress())
	check(t, probe())
}

func detachByHand(t *testing.T, lk link.Link) {
	t.Helper()
	check(t, lk.Detach())
}

// BenchmarkProbe measures one probe.
func BenchmarkProbe(b *testing.B) {
	l := newLB(b, Config{})
	fixtureRules(b, l)
	check(b, testutil.Handle(b, l.cfg.NetNS).SetUp(l.id.ifindex))
	frame := probeOf(fixFamilies[0], packet.TCP, webPort)
	for b.Loop() {
		r, err := l.Probe(frame)
		check(b, err)
		check(b, r.Err())
	}
}

// packetsIn is how many datagrams came to a workload that nobody waits for there.
func packetsIn(t *testing.T, ns string) (n uint64) {
	t.Helper()
	check(t, netns.Do(ns, func() error {
		text, err := os.ReadFile("/proc/thread-self/net/snmp")
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) > 2 && f[0] == "Udp:" && f[2] != "NoPorts" {
				n, err = strconv.ParseUint(f[2], 10, 64)
			}
		}
		return err
	}))
	return n
}
