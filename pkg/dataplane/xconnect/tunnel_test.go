// SPDX-License-Identifier: Apache-2.0

package xconnect

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/tunnel"
)

func TestTunnelTraffic(t *testing.T) {
	each(t, func(t *testing.T, family string) {
		testutil.CheckLeaks(t)
		n := newNodes(t, family, Config{})
		for _, at := range echo(t, n.endpoint) {
			for _, network := range []string{"tcp", "udp"} {
				testutil.MustExchange(t, n.client.ns, network, "", at)
			}
			// Many segments at once (GSO), and fragments of datagrams.
			long := strings.Repeat("Weft weaves. ", 1<<14)
			if answer, err := testutil.Exchange(n.client.ns, "tcp", "", at, long); err != nil || answer != long {
				t.Errorf("%s: long text: %d bytes (%v), want %d", at, len(answer), err, len(long))
			}
			fragments := long[:4000]
			if answer, err := testutil.Exchange(n.client.ns, "udp", "", at, fragments); err != nil || answer != fragments {
				t.Errorf("%s: long datagram: %d bytes (%v), want %d", at, len(answer), err, len(fragments))
			}
		}
		n.a.counted(t, OnlyLeg, 1)
		n.a.counted(t, FromTunnel, 1)
		n.b.counted(t, ToClient, 1)
		n.a.lossless(t)
		n.b.lossless(t)
	})
}

// A client with two legs, one here, one behind a tunnel: the local one is
// preferred, and without that both carry flows, with the MAC of each.
func TestLocalAndTunnelLegs(t *testing.T) {
	each(t, func(t *testing.T, family string) {
		n := newNodes(t, family, Config{})
		here := newSpoke(t, n.a.x, n.a.h, "here", 1, 0)
		must(t, n.a.x.SetEndpoint(here.outer.Index, n.client.outer.Index, 7))
		for _, a := range addresses[1] {
			must(t, n.clientH.AddNeighbour(n.client.inner.Index, a.Addr(), DefaultGateway))
		}
		for _, e := range []spoke{here, n.endpoint} {
			h := testutil.Handle(t, e.ns)
			for _, a := range addresses[0] {
				must(t, h.AddNeighbour(e.inner.Index, a.Addr(), n.client.inner.MAC))
			}
		}
		for _, local := range []bool{true, false} {
			must(t, n.a.x.SetClient(n.client.outer.Index, []Leg{
				{Tunnel: n.towardB(vni), MAC: n.endpoint.inner.MAC},
				{IfIndex: here.outer.Index, MAC: here.inner.MAC, Local: local},
			}))
			var received [2]receiver
			for _, server := range servers {
				address := net.JoinHostPort(server, "80")
				if local {
					address = net.JoinHostPort(server, "81")
				}
				received[0].start(t, here.ns, address)
				received[1].start(t, n.endpoint.ns, address)
			}
			const packets = 512
			for i := range addresses[1] {
				port := uint16(80)
				if local {
					port = 81
				}
				sockets := flowsTo(t, n.client.ns, netip.AddrPortFrom(addresses[1][i].Addr(), port), 64)
				for p := range uint32(packets) {
					must(t, send(sockets, p+uint32(i)*packets))
				}
			}
			testutil.Eventually(t, limit, "all packets", func() bool {
				return received[0].count.Load()+received[1].count.Load() >= 2*packets
			})
			if there := received[1].count.Load(); local == (there != 0) {
				t.Errorf("local preferred: %v, and %d of %d packets took the tunnel", local, there, 2*packets)
			}
		}
	})
}

// Equal VNIs from the same node by two devices are two tunnels.
func TestTwoDevices(t *testing.T) {
	n := newNodes(t, "IPv4", Config{})
	second, err := tunnel.Open(tunnel.Config{NetNS: n.b.ns, Name: "second", Port: 4790})
	must(t, err)
	t.Cleanup(func() { must(t, second.Close(false)) })
	must(t, n.b.x.AttachDevice(second.Index()))
	other := newSpoke(t, n.b.x, n.b.h, "other", 1, 1450)
	behind := n.towardA(vni)
	behind.Device = second.Index()
	must(t, n.b.x.SetTunnel(behind, TunnelPort{IfIndex: other.outer.Index}))
	var received [2]receiver
	for i, e := range []spoke{n.endpoint, other} {
		received[i].start(t, e.ns, "10.0.0.2:80")
	}
	for i, port := range []uint16{4789, 4790} {
		e := []spoke{n.endpoint, other}[i]
		frame := udpFrame(e.inner.MAC, n.client.inner.MAC, []byte{0, 0, 0, byte(i)})
		sendVXLAN(t, n.a.ns, "192.0.2.1", netip.AddrPortFrom(n.towardB(vni).Remote, port), vni, frame)
		testutil.Eventually(t, limit, "the packet at its endpoint", func() bool { return received[i].count.Load() == 1 })
		if got := received[1-i].count.Load(); got != int64(i) {
			t.Errorf("the other endpoint has %d packets, want %d", got, i)
		}
	}
	n.b.lossless(t)
}

// The far end is an ordinary VXLAN device with an IP stack.
func TestOrdinaryVXLAN(t *testing.T) {
	each(t, func(t *testing.T, family string) {
		a, b, _ := newUnderlay(t, 1500)
		n := &nodes{a: newNode(t, a, Config{}), family: family}
		u := underlays[family]
		hb := testutil.Handle(t, b)
		link, err := hb.AddVXLAN(nl.VXLAN{Name: "vxlan7", VNI: vni, Port: 4789, MTU: 1430, Local: u[1].Addr(), Remote: u[0].Addr()})
		must(t, err)
		for _, p := range addresses[1] {
			must(t, hb.AddAddress(link.Index, p))
		}
		client := newSpoke(t, n.a.x, n.a.h, "client", 0, link.MTU)
		must(t,
			n.a.x.SetTunnel(n.towardB(vni), TunnelPort{IfIndex: client.outer.Index}),
			n.a.x.SetClient(client.outer.Index, []Leg{{Tunnel: n.towardB(vni), MAC: link.MAC}}),
			hb.SetUp(link.Index)) // it sends at once
		for _, p := range addresses[1] {
			testutil.Eventually(t, limit, "delivery to "+p.String(), func() bool {
				ok, err := hb.Delivers(p.Addr())
				return ok && err == nil
			})
		}
		there := echo(t, spoke{ns: b})
		back := []string{testutil.Echo(t, client.ns, "10.0.0.1:80"), testutil.Echo(t, client.ns, "[fd00::1]:80")}
		for i := range there {
			for _, network := range []string{"tcp", "udp"} {
				testutil.MustExchange(t, client.ns, network, "", there[i])
				testutil.MustExchange(t, b, network, "", back[i])
			}
			ping(t, client.ns, addresses[1][i].Addr())
			ping(t, b, addresses[0][i].Addr())
		}
		n.a.lossless(t)
	})
}

// The underlay is in a namespace of its own, as the encrypted one's is: packets
// that come to the node itself reach nobody.
func TestUnderlayInOtherNamespace(t *testing.T) {
	each(t, func(t *testing.T, family string) {
		a, b, _ := newUnderlay(t, 1500)
		ns := testutil.NetNS(t)
		n := &nodes{a: newNode(t, a, Config{}), b: newNodeOver(t, ns, b, Config{}), family: family}
		n.client = newSpoke(t, n.a.x, n.a.h, "client", 0, 1430)
		n.endpoint = newSpoke(t, n.b.x, n.b.h, "endpoint", 1, 1430)
		n.join(t, n.client, n.endpoint, vni)
		for _, at := range echo(t, n.endpoint) {
			testutil.MustExchange(t, n.client.ns, "tcp", "", at)
		}
		must(t, n.b.x.SetPeer(n.b.device.Index(), underlays[family][0].Addr()))
		n.toB(t, ControlVNI, controlFrame(ControlProbe, 0, 1))
		n.b.counted(t, Probe, 1)
		n.b.lossless(t)
	})
}

// A tunnel moves between two ports while packets come: none is lost.
func TestTunnelMovesLosslessly(t *testing.T) {
	n := newNodes(t, "IPv4", Config{})
	other := newSpoke(t, n.b.x, n.b.h, "other", 1, 1450)
	must(t, n.b.x.SetEndpointBehind(other.outer.Index, n.towardA(vni)),
		n.clientH.AddNeighbour(n.client.inner.Index, addresses[1][0].Addr(), n.endpoint.inner.MAC))
	must(t, testutil.Handle(t, other.ns).SetMAC(other.inner.Index, n.endpoint.inner.MAC))
	var received [2]receiver
	ports := []spoke{n.endpoint, other}
	for i, e := range ports {
		received[i].start(t, e.ns, "10.0.0.2:80")
	}
	sockets := flows(t, n.client.ns, addresses[1][0].Addr())
	const packets = 20000
	for p := range uint32(packets) {
		if p%50 == 0 {
			must(t, n.b.x.SetTunnel(n.towardA(vni), TunnelPort{IfIndex: ports[p/50%2].outer.Index}))
		}
		must(t, send(sockets, p))
	}
	testutil.Eventually(t, limit, "all packets", func() bool {
		return received[0].count.Load()+received[1].count.Load() >= packets
	})
	n.b.lossless(t)
}

// The underlay's MTU falls below what the interfaces know. Over IPv4 the
// connection goes on: the kernel cuts what is too long. (Over IPv6 only a lower
// MTU of the interfaces helps.)
func TestUnderlayShrinks(t *testing.T) {
	n := newNodes(t, "IPv4", Config{})
	at := echo(t, n.endpoint)[0]
	c, err := testutil.Dial(t.Context(), n.client.ns, "tcp", "", at)
	must(t, err, c.SetDeadline(deadline()))
	t.Cleanup(func() { _ = c.Close() })
	text := strings.Repeat("Weft weaves. ", 1<<12)
	exchange := func() {
		done := make(chan error, 1)
		go func() { _, err := io.WriteString(c, text); done <- err }()
		answer := make([]byte, len(text))
		_, err := io.ReadFull(c, answer)
		must(t, err, <-done)
		if string(answer) != text {
			t.Fatal("another answer")
		}
	}
	exchange()
	must(t, n.a.h.SetMTU(n.a.underlay.Index, 1300), n.b.h.SetMTU(n.b.underlay.Index, 1300))
	exchange()
	if mtu, err := n.a.device.MTU(underlays["IPv4"][1].Addr()); err != nil || mtu != 1300-tunnel.OverheadIPv4 {
		t.Errorf("MTU %d (%v) after the underlay's has fallen to 1300", mtu, err)
	}
}

func TestTunnelRefuses(t *testing.T) {
	x := open(t, Config{})
	good := Tunnel{Device: 5, Local: netip.MustParseAddr("192.0.2.1"), Remote: netip.MustParseAddr("192.0.2.2"), VNI: 1}
	must(t, x.SetTunnel(good, TunnelPort{IfIndex: 1}))
	for name, change := range map[string]func(*Tunnel){
		"no device":       func(t *Tunnel) { t.Device = 0 },
		"no VNI":          func(t *Tunnel) { t.VNI = 0 },
		"VNI too large":   func(t *Tunnel) { t.VNI = MaxVNI + 1 },
		"VNI of control":  func(t *Tunnel) { t.VNI = ControlVNI },
		"no remote":       func(t *Tunnel) { t.Remote = netip.Addr{} },
		"unspecified":     func(t *Tunnel) { t.Remote = netip.IPv4Unspecified() },
		"multicast":       func(t *Tunnel) { t.Remote = netip.MustParseAddr("239.1.1.1") },
		"families differ": func(t *Tunnel) { t.Remote = netip.MustParseAddr("2001:db8::2") },
		"zone":            func(t *Tunnel) { t.Local = netip.Addr{}; t.Remote = netip.MustParseAddr("fe80::1%eth0") },
	} {
		bad := good
		change(&bad)
		for what, err := range map[string]error{
			"SetTunnel":         x.SetTunnel(bad, TunnelPort{IfIndex: 1}),
			"SetEndpointBehind": x.SetEndpointBehind(2, bad),
			"SetClient":         x.SetClient(3, []Leg{{Tunnel: bad, MAC: mac(1)}}),
		} {
			if !errors.Is(err, ErrBadTunnel) {
				t.Errorf("%s, %s: %v, want ErrBadTunnel", name, what, err)
			}
		}
	}
	if x.SetTunnel(good, TunnelPort{}) == nil {
		t.Error("a tunnel to no port was taken")
	}
	must(t, x.DeleteTunnel(good), x.DeleteTunnel(good), x.DeleteTunnel(Tunnel{}))
	if s, err := x.State(); err != nil || len(s.Clients)+len(s.Endpoints)+len(s.Tunnels) != 0 {
		t.Errorf("what was refused has changed something: %+v (%v)", s, err)
	}
}
