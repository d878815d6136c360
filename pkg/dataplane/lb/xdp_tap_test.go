// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/packet"
	"github.com/weft-project/weft/internal/testutil"
)

// tap is an external interface whose wire is the test.
type tap struct{ *os.File }

// newTAP makes "ext" a TAP device, whose driver runs XDP.
func newTAP(t testing.TB, ns string) tap {
	t.Helper()
	var fd int
	check(t, netns.Do(ns, func() (err error) {
		// Non-blocking is what makes the driver run XDP before it makes packets.
		if fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0); err != nil {
			return fmt.Errorf("open /dev/net/tun: %w", err)
		}
		ifr, err := unix.NewIfreq("ext")
		if err != nil {
			return err
		}
		ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		return unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	}))
	file := os.NewFile(uintptr(fd), "tap")
	t.Cleanup(func() { _ = file.Close() })
	h := testutil.Handle(t, ns)
	dev, err := h.LinkByName("ext")
	check(t, err)
	check(t, h.SetMAC(dev.Index, extMAC[:]))
	check(t, h.SetUp(dev.Index))
	for _, f := range fixFamilies {
		check(t, h.AddNeighbour(dev.Index, f.gateway, routerMAC[:]))
	}
	return tap{file}
}

// receive returns the next frame that is wanted, nil if there is none in time.
func (d tap) receive(t *testing.T, wanted func([]byte) bool) []byte {
	t.Helper()
	check(t, d.SetReadDeadline(time.Now().Add(5*time.Second)))
	for {
		b := make([]byte, 4096)
		n, err := d.Read(b)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, io.EOF):
			return nil
		case err != nil:
			t.Fatal(err)
		case wanted(b[:n]):
			return b[:n]
		}
	}
}

// answered sends frames and checks that a certain one comes back.
func (d tap) answered(t *testing.T, what string, want []byte, frames ...[]byte) {
	t.Helper()
	for _, frame := range frames {
		_, err := d.Write(frame)
		check(t, err)
	}
	if d.receive(t, func(b []byte) bool { return bytes.Equal(b, want) }) == nil {
		t.Errorf("%s: no answer % x", what, want)
	}
}

// TestXDPOnTAP passes frames of the test through the XDP of a driver, and through
// tcx to a real stack and back.
func TestXDPOnTAP(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	for _, vlan := range []uint16{0, 100} {
		t.Run(fmt.Sprintf("vlan=%d", vlan), func(t *testing.T) {
			top := &topology{ns: testutil.NetNS(t)}
			d := newTAP(t, top.ns)
			top.lb = newLB(t, Config{NetNS: top.ns, VLAN: vlan})
			if m := top.lb.Mode(); m != ModeXDP {
				t.Fatalf("mode %s, want xdp", m)
			}
			top.addTarget(t, testutil.Handle(t, top.ns), 0)
			top.balance(t)
			check(t, top.lb.SetRules(tapRules()))
			check(t, top.lb.SetGateways(fixGateways))
			nameServer(t, top.targets[0], "target-0")
			eth := toUs
			if vlan != 0 {
				eth.Tags = []packet.Tag{{TCI: vlan}}
			}
			d.test(t, top.lb, eth)
		})
	}
}

// tapRules lead port 80 of the VIPs to stream 0.
func tapRules() (r Rules) {
	for _, f := range fixFamilies {
		r.VIPs = append(r.VIPs, netip.PrefixFrom(f.in.Dst, f.in.Dst.BitLen()))
	}
	r.Flows = []classify.Rule{{Name: "web", VIPs: r.VIPs, DestinationPorts: []classify.PortRange{{First: webPort, Last: webPort}}}}
	return r
}

func (d tap) test(t *testing.T, l *LB, eth packet.Ethernet) {
	back := packet.Ethernet{Dst: eth.Src, Src: extMAC, Tags: eth.Tags}
	before, err := l.Counters()
	check(t, err)
	for _, f := range fixFamilies {
		for _, q := range append(arpFixtures(eth), ndFixtures(eth)...) {
			if q.want.Reason == ARPAnswered || q.want.Reason == NDAnswered {
				d.answered(t, q.name, q.out, q.frame)
				before[q.want.Reason]++
			}
		}
		d.answered(t, "echo"+f.name, message(back, f.reply, f.answer, 0, somebody(99)), message(eth, f.in, f.request, 0, somebody(99)))
		id := numbered(&f.in, &f.reply)
		cut := packet.Fragments(message(eth, f.in, f.request, 0, somebody(99)), 48, id)
		parts := packet.Fragments(message(back, f.reply, f.answer, 0, somebody(99)), 48, id)
		d.answered(t, "fragment of an echo"+f.name, parts[len(parts)-1], cut...)
		before[EchoAnswered] += 1 + uint64(len(cut))
		for range 10 {
			_, err := d.Write(request(eth, f.in, packet.UDP, 81))
			check(t, err)
		}
		before[DropNoFlow] += 10
		d.exchange(t, f, eth)
		for r, n := range map[Reason]uint64{Forwarded: 4, FragmentForwarded: 1, FragmentParked: 1, DropTTL: 1, ReplyForwarded: 4} {
			before[r] += n
		}
	}
	after, err := l.Counters()
	check(t, err)
	for _, r := range []Reason{ARPAnswered, NDAnswered, EchoAnswered, DropNoFlow, DropTTL, Forwarded, FragmentForwarded, FragmentParked} {
		if after[r] != before[r] {
			t.Errorf("%d packets %s, want %d", after[r], r, before[r])
		}
	}
	if after[ReplyForwarded] < before[ReplyForwarded] {
		t.Errorf("%d replies, want %d", after[ReplyForwarded], before[ReplyForwarded])
	}
}

// exchange talks to the server of a target, in datagrams, whole, in fragments and
// expired, and in the first segments of a connection.
func (d tap) exchange(t *testing.T, f fixFamily, eth packet.Ethernet) {
	t.Helper()
	answer := func(what string, proto uint8, ok func(p packet.Packet, frame []byte) bool, frames ...[]byte) {
		for _, frame := range frames {
			_, err := d.Write(frame)
			check(t, err)
		}
		got := d.receive(t, func(b []byte) bool {
			p, err := packet.Parse(b)
			return err == nil && p.Proto == proto && p.Src == f.in.Dst && p.Dst == f.in.Src && len(p.Tags) == len(eth.Tags) && ok(p, b)
		})
		if got == nil {
			t.Errorf("%s%s: no answer", what, f.name)
		}
	}
	named := func(port uint16) func(packet.Packet, []byte) bool {
		return func(p packet.Packet, b []byte) bool {
			return p.DstPort == port && strings.HasPrefix(string(b[p.L4+8:]), "target-0 "+f.in.Src.String())
		}
	}
	answer("udp", packet.UDP, named(4000), f.in.Packet(eth, packet.UDP, f.in.UDP(4000, webPort, []byte("?"))))
	id := numbered(&f.in)
	cut := packet.Fragments(f.in.Packet(eth, packet.UDP, f.in.UDP(4001, webPort, somebody(60))), 40, id)
	answer("fragments", packet.UDP, named(4001), cut...)
	id = numbered(&f.in)
	cut = packet.Fragments(f.in.Packet(eth, packet.UDP, f.in.UDP(4003, webPort, somebody(60))), 40, id)
	answer("fragments out of order", packet.UDP, named(4003), cut[1], cut[0])
	expired, kind := f.in, map[string]uint8{"4": packet.TimeExceededV4, "6": packet.TimeExceededV6}[f.name]
	expired.TTL = 1
	proto, _ := f.in.ICMP(kind, 0, nil)
	answer("TTL", proto, func(p packet.Packet, _ []byte) bool { return p.Type == kind }, request(eth, expired, packet.UDP, webPort))
	answer("tcp", packet.TCP, func(p packet.Packet, b []byte) bool {
		return p.DstPort == 4002 && b[p.L4+13] == packet.SYN|packet.ACK
	}, f.in.Packet(eth, packet.TCP, f.in.TCP(4002, webPort, packet.SYN, nil)))
}

// TestXDPTaken: where somebody else has the XDP hook, there is tcx, or an error.
func TestXDPTaken(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	ns := testutil.NetNS(t)
	d := newTAP(t, ns)
	foreign, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, xdpPass), asm.Return()},
	})
	check(t, err)
	defer func() { check(t, foreign.Close()) }()
	var taken link.Link
	check(t, netns.Do(ns, func() (err error) {
		taken, err = link.AttachXDP(link.XDPOptions{Interface: testutil.Link(t, ns, "ext").Index, Program: foreign, Flags: link.XDPDriverMode})
		return err
	}))
	defer func() { check(t, taken.Close()) }()
	_, err = New(Config{NetNS: ns, Interface: "ext", Mode: ModeXDP})
	if err == nil || !strings.Contains(err.Error(), "attach lb to ext: xdp in the driver: ") || !errors.Is(err, unix.EBUSY) {
		t.Errorf("got %v", err)
	}
	l := newLB(t, Config{NetNS: ns})
	if m := l.Mode(); m != ModeTCX {
		t.Errorf("mode %s, want tcx", m)
	}
	// tcx does all, with programs of another shape as well.
	for i, more := range []int{0, 3000} {
		r := tapRules()
		r.Flows = append(r.Flows, manyRules(more, r.VIPs[0])...)
		check(t, l.SetRules(r))
		check(t, l.SetTable(0, []uint16{1}))
		f := fixFamilies[i]
		back := packet.Ethernet{Dst: toUs.Src, Src: extMAC}
		d.answered(t, "echo", message(back, f.reply, f.answer, 0, somebody(99)), message(toUs, f.in, f.request, 0, somebody(99)))
	}
}
