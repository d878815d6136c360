// SPDX-License-Identifier: Apache-2.0

package xconnect

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/testutil"
)

// toB sends a frame from node A to node B's device, from user space.
func (n *nodes) toB(t testing.TB, vni uint32, frame []byte) {
	t.Helper()
	u := underlays[n.family]
	sendVXLAN(t, n.a.ns, u[0].Addr().String(), netip.AddrPortFrom(u[1].Addr(), 4789), vni, frame)
}

func monotonic(t testing.TB) time.Duration {
	t.Helper()
	var now unix.Timespec
	must(t, unix.ClockGettime(unix.CLOCK_MONOTONIC, &now))
	return time.Duration(now.Nano())
}

// Probes are answered and replies noted without any process.
func TestProbe(t *testing.T) {
	each(t, func(t *testing.T, family string) {
		n := newNodes(t, family, Config{})
		u := underlays[family]
		deviceA, deviceB := n.a.device.Index(), n.b.device.Index()
		must(t, n.a.x.SetPeer(deviceA, u[1].Addr()), n.a.x.SetPeer(deviceA, u[1].Addr()), n.b.x.SetPeer(deviceB, u[0].Addr()))
		if at, nonce, err := n.a.x.PeerReply(deviceA, u[1].Addr()); at != 0 || nonce != 0 || err != nil {
			t.Errorf("a reply before the probe: %v %d (%v)", at, nonce, err)
		}
		before := monotonic(t)
		for nonce := uint64(1 << 60); nonce < 1<<60+3; nonce++ {
			n.toB(t, ControlVNI, controlFrame(ControlProbe, 0, nonce))
			testutil.Eventually(t, limit, "the reply", func() bool {
				at, got, err := n.a.x.PeerReply(deviceA, u[1].Addr())
				must(t, err)
				return got == nonce && at >= before && at <= monotonic(t)
			})
		}
		n.b.counted(t, Probe, 3)
		n.a.counted(t, ProbeReply, 3)
		must(t, n.a.x.SetPeer(deviceA, u[1].Addr())) // forgets nothing
		if at, _, err := n.a.x.PeerReply(deviceA, u[1].Addr()); at < before || err != nil {
			t.Errorf("reply at %v (%v) after another SetPeer", at, err)
		}
		peers, err := n.a.x.Peers()
		must(t, err)
		if len(peers) != 1 || peers[0] != (Peer{deviceA, u[1].Addr()}) {
			t.Errorf("peers %v", peers)
		}
		must(t, n.a.x.DeletePeer(deviceA, u[1].Addr()), n.a.x.DeletePeer(deviceA, u[1].Addr()), n.a.x.DeletePeer(deviceA, netip.Addr{}))
		if _, _, err := n.a.x.PeerReply(deviceA, u[1].Addr()); !errors.Is(err, ErrNoPeer) {
			t.Errorf("forgotten peer: %v, want ErrNoPeer", err)
		}
	})
}

// States and acknowledgements in the VNI of a tunnel reach who watches.
func TestWatchControl(t *testing.T) {
	each(t, func(t *testing.T, family string) {
		testutil.CheckLeaks(t)
		n := newNodes(t, family, Config{})
		heard := make(chan Control, 16)
		w, err := n.b.x.WatchControl(func(c Control) { heard <- c })
		must(t, err)
		if _, err := n.b.x.WatchControl(func(Control) {}); !errors.Is(err, ErrWatched) {
			t.Errorf("second watch: %v, want ErrWatched", err)
		}
		for _, kind := range []ControlType{ControlState, ControlStateAck} {
			n.toB(t, vni, controlFrame(kind, 3, 1<<40|uint64(kind)))
			select {
			case got := <-heard:
				if want := (Control{n.towardA(vni).Key(), kind, 3, 1<<40 | uint64(kind)}); got != want {
					t.Errorf("heard %+v, want %+v", got, want)
				}
			case <-time.After(limit):
				t.Fatal("nothing heard")
			}
		}
		must(t, w.Close(), w.Close())
		again, err := n.b.x.WatchControl(func(c Control) { heard <- c })
		must(t, err)
		n.toB(t, vni, controlFrame(ControlState, 0, 1))
		<-heard
		must(t, again.Close())
		// Nobody reads: the ring fills, and frames of tunnels still pass.
		testutil.Eventually(t, limit, "a full ring", func() bool {
			for range 100 {
				n.toB(t, vni, controlFrame(ControlState, 0, 1))
			}
			counters, err := n.b.x.Counters()
			must(t, err)
			return counters[ControlFull] > 0
		})
		testutil.MustExchange(t, n.client.ns, "udp", "", echo(t, n.endpoint)[0])
	})
}

// What nobody may send is dropped with its reason, and reaches nobody.
func TestSpoofed(t *testing.T) {
	each(t, func(t *testing.T, family string) {
		n := newNodes(t, family, Config{})
		u := underlays[family]
		must(t, n.b.x.SetPeer(n.b.device.Index(), u[0].Addr()))
		w, err := n.b.x.WatchControl(func(c Control) { t.Errorf("heard %+v", c) })
		must(t, err)
		t.Cleanup(func() { must(t, w.Close()) })
		stranger := underlays[family][0].Addr().Next().Next()
		must(t, n.a.h.AddAddress(n.a.underlay.Index, netip.PrefixFrom(stranger, underlays[family][0].Bits())))
		toB := netip.AddrPortFrom(u[1].Addr(), 4789)
		data := udpFrame(n.endpoint.inner.MAC, n.client.inner.MAC, []byte{0, 0, 0, 1})
		var received receiver
		received.start(t, n.endpoint.ns, "10.0.0.2:80")
		magic, version, tagged := controlFrame(ControlState, 0, 1), controlFrame(ControlState, 0, 1), controlFrame(ControlState, 0, 1)
		magic[14], version[18] = 'X', 2
		tagged = append(append(append([]byte{}, tagged[:12]...), 0x81, 0, 0, 5), tagged[12:]...)
		for _, c := range []struct {
			name   string
			from   netip.Addr
			vni    uint32
			frame  []byte
			reason Reason
		}{
			{"data, unknown VNI", u[0].Addr(), vni + 1, data, NoTunnel},
			{"data, wrong node", stranger, vni, data, NoTunnel},
			{"data in the VNI of control", u[0].Addr(), ControlVNI, data, NoTunnel},
			{"state, unknown VNI", u[0].Addr(), vni + 1, controlFrame(ControlState, 1, 1), BadControl},
			{"state, wrong node", stranger, vni, controlFrame(ControlState, 1, 1), BadControl},
			{"state in the VNI of control", u[0].Addr(), ControlVNI, controlFrame(ControlState, 1, 1), BadControl},
			{"acknowledgement, unknown VNI", u[0].Addr(), vni + 1, controlFrame(ControlStateAck, 1, 1), BadControl},
			{"probe of a stranger", stranger, ControlVNI, controlFrame(ControlProbe, 0, 1), BadControl},
			{"probe in a tunnel", u[0].Addr(), vni, controlFrame(ControlProbe, 0, 1), BadControl},
			{"reply of a stranger", stranger, ControlVNI, controlFrame(ControlProbeReply, 0, 1), BadControl},
			{"reply in a tunnel", u[0].Addr(), vni, controlFrame(ControlProbeReply, 0, 1), BadControl},
			{"unknown type", u[0].Addr(), vni, controlFrame(9, 0, 1), BadControl},
			{"wrong magic", u[0].Addr(), vni, magic, BadControl},
			{"another version", u[0].Addr(), vni, version, BadControl},
			{"tagged", u[0].Addr(), vni, tagged, BadControl},
			{"cut off", u[0].Addr(), vni, controlFrame(ControlState, 0, 1)[:29], BadControl},
		} {
			before, err := n.b.x.Counters()
			must(t, err)
			sendVXLAN(t, n.a.ns, c.from.String(), toB, c.vni, c.frame)
			testutil.Eventually(t, limit, c.name+": counted as "+c.reason.String(), func() bool {
				now, err := n.b.x.Counters()
				must(t, err)
				return now[c.reason] == before[c.reason]+1
			})
		}
		if got := received.count.Load(); got != 0 {
			t.Errorf("%d spoofed packets reached the endpoint", got)
		}
		if at, _, err := n.b.x.PeerReply(n.b.device.Index(), u[0].Addr()); at != 0 || err != nil {
			t.Errorf("a spoofed reply was noted at %v (%v)", at, err)
		}
		n.endpointSaysNothing(t)
	})
}

// endpointSaysNothing: a workload cannot speak for its node.
func (n *nodes) endpointSaysNothing(t *testing.T) {
	t.Helper()
	before, err := n.b.x.Counters()
	must(t, err)
	sendRaw(t, n.endpoint.ns, n.endpoint.inner.Index, controlFrame(ControlState, 1, 1))
	n.b.counted(t, BadControl, before[BadControl]+1)
}

// sendRaw sends a frame by an interface.
func sendRaw(t testing.TB, ns string, index int, frame []byte) {
	t.Helper()
	must(t, netns.Do(ns, func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(fd) }()
		return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: index})
	}))
}

// A frame with a VLAN tag keeps it on its way through a tunnel.
func TestTaggedFrame(t *testing.T) {
	each(t, func(t *testing.T, family string) {
		n := newNodes(t, family, Config{})
		fd := -1
		must(t, netns.Do(n.endpoint.ns, func() (err error) {
			fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
			return err
		}))
		t.Cleanup(func() { _ = unix.Close(fd) })
		must(t, unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1),
			unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: n.endpoint.inner.Index, Protocol: 0x0300}), // ETH_P_ALL
			unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}))
		sent := udpFrame(n.endpoint.inner.MAC, n.client.inner.MAC, []byte("tagged"))
		tagged := append(append(append([]byte{}, sent[:12]...), 0x81, 0, 0x20, 0x05), sent[12:]...)
		sendRaw(t, n.client.ns, n.client.inner.Index, tagged)
		buffer, oob := make([]byte, 2000), make([]byte, 200)
		for {
			length, oobn, _, _, err := unix.Recvmsg(fd, buffer, oob, 0)
			must(t, err)
			if length != len(sent) || net.HardwareAddr(buffer[6:12]).String() != n.client.inner.MAC.String() {
				continue
			}
			messages, err := unix.ParseSocketControlMessage(oob[:oobn])
			must(t, err)
			if aux := messages[0].Data; aux[16] != 0x05 || aux[17] != 0x20 { // tp_vlan_tci
				t.Errorf("tag %x, want 2005", aux[16:18])
			}
			return
		}
	})
}
