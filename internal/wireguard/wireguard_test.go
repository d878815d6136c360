// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/traffic"
)

const nodeA, nodeB = "10.0.0.1/24", "10.0.0.2/24"

func TestTunnel(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	for name, c := range map[string]struct {
		a, b string
		mtu  int
	}{
		"IPv4": {nodeA, nodeB, 1500 - 60 - 70},
		"IPv6": {"fd00::1/64", "fd00::2/64", 1500 - 80 - 70},
	} {
		t.Run(name, func(t *testing.T) { testTunnel(t, Userspace, c.a, c.b, c.mtu) })
	}
}

func testTunnel(t *testing.T, mode Mode, addrA, addrB string, mtu int) {
	testutil.CheckLeaks(t)
	a, b := newPair(t, mode, addrA, addrB)
	a.open()
	b.open()
	request(t, a, b, func() {})
	if a.path.MTU != mtu || b.path.MTU != mtu {
		t.Errorf("MTU %d and %d, want %d", a.path.MTU, b.path.MTU, mtu)
	}
	if a.path.Local != b.path.Remote || a.path.Remote != b.path.Local || a.path.Device != testutil.Link(t, a.ns, DeviceName).Index {
		t.Errorf("paths do not meet: %+v and %+v", a.path, b.path)
	}
	to := b.serve()
	a.mustReach(to)
	setMTU(t, a, mtu)
	setMTU(t, b, mtu)
	testutil.MustExchange(t, a.workload, "tcp", "", testutil.Echo(t, b.workload, b.inside.String()+":9"))
	// Of the greatest length, and the network in between must not have to cut it.
	before := fragments(t, a.ns)
	answer, err := testutil.Exchange(a.workload, "udp", "", b.inside.String()+":9", strings.Repeat("x", mtu-28))
	if err != nil || len(answer) != mtu-28 {
		t.Errorf("exchange of packets of %d bytes: %d bytes (%v)", mtu, len(answer), err)
	}
	if after := fragments(t, a.ns); after != before {
		t.Errorf("packets of the greatest length were cut: %q, before %q", after, before)
	}
	private := a.m.Private()
	must(t, a.m.Leave(connection), b.m.Leave(connection), a.m.Leave("unknown"))
	if n := len(a.m.current().peers); n != 0 {
		t.Errorf("%d peers after the last Leave", n)
	}
	must(t, a.m.Close(false), a.m.Close(false), b.m.Close(false))
	checkGone(t, a, private)
}

func setMTU(t *testing.T, n *node, mtu int) {
	t.Helper()
	must(t, testutil.Handle(t, n.workload).SetMTU(testutil.Link(t, n.workload, "w0").Index, mtu))
}

// fragments returns the namespace's count of fragments made.
func fragments(t *testing.T, ns string) (found string) {
	t.Helper()
	must(t, netns.Do(ns, func() error {
		v6, err := os.ReadFile("/proc/thread-self/net/snmp6")
		if err != nil {
			return err
		}
		v4, err := os.ReadFile("/proc/thread-self/net/snmp")
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(v6)) {
			if strings.HasPrefix(line, "Ip6FragCreates") {
				found = strings.TrimSpace(line)
			}
		}
		var names []string
		for line := range strings.Lines(string(v4)) {
			if fields := strings.Fields(line); fields[0] == "Ip:" {
				if names == nil {
					names = fields
					continue
				}
				for i, name := range names {
					if name == "FragCreates" {
						found += " IPv4 " + fields[i]
					}
				}
			}
		}
		return nil
	}))
	return found
}

func checkGone(t *testing.T, n *node, private string) {
	t.Helper()
	if _, err := os.Stat(private); !os.IsNotExist(err) {
		t.Errorf("private namespace remains: %v", err)
	}
	if left, err := os.ReadDir(n.cfg.Dir); err != nil || len(left) != 0 {
		t.Errorf("directory still has %v (%v)", left, err)
	}
}

// TestUnencryptedStaysOut sends the same VXLAN packet to the node's own address,
// where it must not arrive, and through WireGuard, where it does.
func TestUnencryptedStaysOut(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	a, b := newPair(t, Userspace, nodeA, nodeB)
	a.open()
	b.open()
	request(t, a, b, func() {})
	a.mustReach(b.serve())
	got := testutil.ListenPacket(t, b.workload, "udp4", b.inside.String()+":5000")
	send := func(ns string, from, to netip.Addr, text string) {
		t.Helper()
		c := testutil.ListenPacket(t, ns, "udp", netip.AddrPortFrom(from, 0).String())
		_, err := c.WriteTo(vxlanPacket(a, b, text), net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, 4789)))
		must(t, err)
	}
	for range 5 {
		send(a.ns, a.addr, b.addr, "plain")
	}
	send(a.m.Private(), a.path.Local, a.path.Remote, "encrypted")
	must(t, got.SetReadDeadline(time.Now().Add(10*time.Second)))
	buffer := make([]byte, 100)
	n, _, err := got.ReadFrom(buffer)
	if err != nil || string(buffer[:n]) != "encrypted" {
		t.Errorf("arrived: %q (%v), want only what was encrypted", buffer[:n], err)
	}
}

// vxlanPacket is a UDP datagram from a's workload to port 5000 of b's, in a frame
// in VXLAN.
func vxlanPacket(a, b *node, text string) []byte {
	vxlan := binary.BigEndian.AppendUint64(nil, 8<<56|testVNI<<8)
	frame := append(append(append([]byte(nil), b.mac...), a.mac...), 8, 0)
	src, dst := a.inside.As4(), b.inside.As4()
	ip := []byte{0x45, 0, 0, byte(28 + len(text)), 0, 0, 0, 0, 64, 17, 0, 0}
	ip = append(append(ip, src[:]...), dst[:]...)
	var sum uint32
	for i := 0; i < len(ip); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	sum = sum&0xffff + sum>>16
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum&0xffff+sum>>16))
	udp := binary.BigEndian.AppendUint16(nil, 4000)
	udp = binary.BigEndian.AppendUint16(udp, 5000)
	udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(text)))
	udp = append(udp, 0, 0)
	packet := append(append(append(vxlan, frame...), ip...), udp...)
	return append(packet, text...)
}

// steady starts UDP and TCP traffic from a to b and returns what reports on it.
func steady(t *testing.T, a, b *node, rate int) (check func()) {
	t.Helper()
	to := []netip.AddrPort{b.serve()}
	a.mustReach(to[0])
	dial := traffic.DialIn(a.in)
	s, err := traffic.StartSteady(traffic.SteadyConfig{To: to, Flows: 4, Rate: rate, Dial: dial})
	must(t, err)
	t.Cleanup(s.Stop)
	p, err := traffic.StartPool(dial, to, 4)
	must(t, err)
	t.Cleanup(func() { p.Stop() })
	start := s.Mark()
	return func() {
		t.Helper()
		w := s.Between(start, s.Mark())
		stats := p.Stats()
		t.Logf("%d packets at %.0f per second, %d lost; %d lines over TCP, %d connections broken", w.Sent, w.Rate, w.Lost, stats.Lines, stats.Broken)
		if w.Lost != 0 || stats.Broken != 0 {
			t.Error("traffic was lost")
		}
	}
}

// TestRotation rotates both nodes at different times, alone and together, under
// traffic.
func TestRotation(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testRotation(t, Userspace, 500)
}

func testRotation(t *testing.T, mode Mode, rate int) {
	testutil.CheckLeaks(t)
	a, b := newPair(t, mode, nodeA, nodeB)
	a.open()
	b.open()
	request(t, a, b, func() {})
	check := steady(t, a, b, rate)
	pause := func() { time.Sleep(50 * time.Millisecond) } // traffic in every state
	for _, step := range []struct {
		name string
		who  []*node
	}{{"client", []*node{a}}, {"endpoint", []*node{b}}, {"both", []*node{a, b}}, {"none", nil}} {
		keys := map[string]bool{a.m.Offer().PublicKey: true, b.m.Offer().PublicKey: true}
		for _, n := range step.who {
			must(t, n.m.Rotate())
			pause()
			if err := n.m.Rotate(); err == nil {
				t.Errorf("%s: a second rotation while the former key is in use", step.name)
			}
		}
		for i := 0; a.generationCount()+b.generationCount() > 2 || i == 0; i++ {
			if i == 100 {
				t.Fatalf("%s: the former keys are still in use after %d requests", step.name, i)
			}
			request(t, a, b, pause)
			pause()
		}
		for _, n := range step.who {
			if keys[n.m.Offer().PublicKey] {
				t.Errorf("%s: the key has not changed", step.name)
			}
		}
		if a.path.Local != b.path.Remote || b.path.Local != a.path.Remote || len(a.path.Former)+len(b.path.Former) != 0 {
			t.Errorf("%s: the paths %+v and %+v do not meet", step.name, a.path, b.path)
		}
	}
	check()
}

// TestRotationWithoutHandshake: nothing gets through to the new key's port, and
// the connection stays with the former until something does.
func TestRotationWithoutHandshake(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	a, b := newPair(t, Userspace, nodeA, nodeB)
	a.open()
	b.open()
	a.m.timing.handshake, b.m.timing.handshake = time.Second, time.Second
	request(t, a, b, func() {})
	check := steady(t, a, b, 500)
	former := a.path
	must(t, a.m.Rotate())
	told, answer := a.m.Offer(), b.m.Offer()
	wrong := a.peer(told, answer)
	wrong.Port = 9
	path, err := b.m.Join(t.Context(), connection, wrong)
	must(t, err)
	b.stitch(path, b.endpoint())
	path, err = a.m.Join(t.Context(), connection, b.peer(answer, told))
	must(t, err)
	a.stitch(path, a.client(b))
	if a.path.Local != former.Local || b.path.Remote != former.Local {
		t.Errorf("paths %+v and %+v, want the former %s", a.path, b.path, former.Local)
	}
	testutil.Eventually(t, time.Minute, "the move to the new key", func() bool {
		request(t, a, b, func() {})
		return a.path.Local != former.Local && b.path.Remote == a.path.Local
	})
	check()
}
