// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/testutil"
)

// ethtoolTxVLAN is ETH_FLAG_TXVLAN of linux/ethtool.h.
const ethtoolTxVLAN = 1 << 7

// ethtool gives the driver of "ext" a command, whose value is what change makes of
// the one that another command reads.
func ethtool(t *testing.T, ns string, read, write uint32, change func(uint32) uint32) {
	t.Helper()
	check(t, netns.Do(ns, func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(fd) }()
		value, err := ethtoolValue(fd, "ext", read, 0)
		if err != nil {
			return fmt.Errorf("ethtool %#x: %w", read, err)
		}
		if _, err := ethtoolValue(fd, "ext", write, change(value)); err != nil {
			return fmt.Errorf("ethtool %#x: %w", write, err)
		}
		return nil
	}))
}

func set(to uint32) func(uint32) uint32       { return func(uint32) uint32 { return to } }
func without(bits uint32) func(uint32) uint32 { return func(v uint32) uint32 { return v &^ bits } }

// framed makes a veth carry frames as a wire does: tags and checksums in them. A
// veth takes what XDP sends back only when its other end runs XDP, too.
func (top *topology) framed(t *testing.T) {
	t.Helper()
	ethtool(t, top.ns, unix.ETHTOOL_GFLAGS, unix.ETHTOOL_SFLAGS, without(ethtoolRxVLAN))
	ethtool(t, top.client, unix.ETHTOOL_GFLAGS, unix.ETHTOOL_SFLAGS, without(ethtoolTxVLAN))
	ethtool(t, top.client, unix.ETHTOOL_GTXCSUM, unix.ETHTOOL_STXCSUM, set(0))
	pass, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, xdpPass), asm.Return()},
	})
	check(t, err)
	t.Cleanup(func() { check(t, pass.Close()) })
	far := testutil.Link(t, top.client, "ext")
	check(t, netns.Do(top.client, func() error {
		l, err := link.AttachXDP(link.XDPOptions{Interface: far.Index, Program: pass, Flags: link.XDPDriverMode})
		if err == nil {
			t.Cleanup(func() { check(t, l.Close()) })
		}
		return err
	}))
}

// useXDP replaces the load balancer by one with XDP.
func (top *topology) useXDP(t *testing.T, vlan uint16) {
	t.Helper()
	check(t, top.lb.Close())
	top.framed(t)
	top.lb = newLB(t, Config{NetNS: top.ns, VLAN: vlan, Mode: ModeXDP})
	if m := top.lb.Mode(); m != ModeXDP {
		t.Fatalf("mode %s", m)
	}
	for i, to := range top.legs {
		_, err := top.lb.AttachLeg(to.Index)
		check(t, err)
		leg, mac := legMAC(i), targetMAC(i)
		check(t, top.lb.SetTarget(uint16(i+1), Target{IfIndex: to.Index, MAC: mac[:], LegMAC: leg[:]}))
	}
}

// TestXDPTraffic passes the kernel's own TCP and UDP through XDP and tcx.
func TestXDPTraffic(t *testing.T) {
	for _, vlan := range []uint16{0, 100} {
		t.Run(fmt.Sprintf("vlan=%d", vlan), func(t *testing.T) {
			top := newTopology(t, 2, vlan)
			top.useXDP(t, vlan)
			top.balance(t)
			for i, ns := range top.targets {
				nameServer(t, ns, fmt.Sprintf("target-%d", i))
			}
			for _, vip := range vips {
				for _, network := range []string{"tcp", "udp"} {
					t.Run(network+"/"+vip.String(), func(t *testing.T) { testSpread(t, top, network, vip) })
				}
			}
			t.Run("bulk", func(t *testing.T) { testBulk(t, top) })
			testCounts(t, top)
			t.Run("handed over", func(t *testing.T) { testHandedOver(t, top) })
			t.Run("fragments", func(t *testing.T) { testXDPFragments(t, top) })
		})
	}
}

// testHandedOver gives XDP other tables than tcx has: what XDP has decided holds.
func testHandedOver(t *testing.T, top *topology) {
	l := top.lb
	check(t, l.SetTable(0, []uint16{1}))
	spec, err := loadBpf()
	check(t, err)
	check(t, prepare(spec, l.cfg, l.id, l.objs.shape))
	rings, err := ebpf.NewMap(spec.Maps[bpfMapLbRings])
	check(t, err)
	defer func() { check(t, rings.Close()) }()
	ring, err := l.newRing()
	check(t, err)
	defer func() { check(t, ring.close()) }()
	all := ring.half(0, 2*l.cfg.MaxTableSize)
	for i := range all {
		all[i] = 2
	}
	check(t, rings.Put(uint32(0), ring.m))
	other := *l.objs
	other.LbRings = rings
	strange, err := loadXDPProgram(l.cfg, l.id, &other)
	check(t, err)
	defer func() { check(t, strange.Close()) }()
	at := slices.IndexFunc(l.links, func(a attachment) bool { return a.program(l.objs) == l.objs.xdp })
	for _, step := range []struct {
		program *ebpf.Program
		want    string
	}{{strange, "target-1"}, {l.objs.xdp, "target-0"}} {
		check(t, l.links[at].link.Update(step.program))
		for vip, from := range map[netip.Addr]netip.Addr{routed4: client4, routed6: client6} {
			for _, network := range []string{"udp", "tcp"} {
				if name, err := ask(top.client, network, vip, from); err != nil || name != step.want {
					t.Errorf("%s to %s: %s, %v, want %s", network, vip, name, err, step.want)
				}
			}
		}
	}
}

// testXDPFragments sends datagrams that do not fit a frame.
func testXDPFragments(t *testing.T, top *topology) {
	for _, vip := range vips {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		c, err := testutil.Dial(ctx, top.client, "udp", "", netip.AddrPortFrom(vip, 80).String())
		check(t, err)
		defer func() { _ = c.Close() }()
		check(t, c.SetDeadline(time.Now().Add(5*time.Second)))
		_, err = c.Write(make([]byte, 4000))
		check(t, err)
		answer := make([]byte, 100)
		n, err := c.Read(answer)
		if err != nil || !strings.HasPrefix(string(answer[:n]), "target-0") {
			t.Errorf("%s: %q, %v", vip, answer[:n], err)
		}
	}
	counts, err := top.lb.Counters()
	check(t, err)
	// One of each packet's fragments is the first; a later one may come before it.
	slow := top.lb.SlowPath()
	if n := counts[FragmentForwarded] + slow.Forwarded; n != uint64(2*len(vips)) {
		t.Errorf("%d later fragments by the program, %d by the slow path, want %d in all", counts[FragmentForwarded], slow.Forwarded, 2*len(vips))
	}
}
