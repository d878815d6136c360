// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/packet"
	"github.com/weft-project/weft/internal/testutil"
)

// expired is what a socket learns of a packet that had too few hops.
func (v ipVersion) expired(from netip.Addr) icmpReport {
	if v.vip.Is4() {
		return icmpReport{Errno: unix.EHOSTUNREACH, Type: packet.TimeExceededV4, From: from}
	}
	return icmpReport{Errno: unix.EHOSTUNREACH, Type: packet.TimeExceededV6, From: from}
}

// TestExpiry finds out about the path as traceroute does: the load balancer is the
// first hop, and calls itself by the VIP, or by the gateway's address for workloads.
func TestExpiry(t *testing.T) {
	eachVersion(t, func(t *testing.T, v ipVersion) {
		s := newStacks(t, 2)
		for _, ns := range s.targets {
			echoUDP(t, ns, addrPort(v.vip, 53))
			serveStreams(t, ns, addrPort(v.vip, 80))
		}
		echoUDP(t, s.client, addrPort(v.client, 54))
		client := dialUDP(t, s.client, netip.AddrPort{}, addrPort(v.vip, 53))
		probe(t, v, client, v.vip)
		workload := dialUDP(t, s.targets[0], addrPort(v.vip, 55), addrPort(v.client, 54))
		probe(t, v, workload, v.gate)
		probeTCP(t, s, v)
		s.lossless(t, DropTTL)
		if got := s.lb.SlowPath().TimeExceeded; got < 3 || got != s.dropsOf(t, DropTTL) {
			t.Errorf("%d errors about %d expired packets", got, s.dropsOf(t, DropTTL))
		}
	})
}

// probe sends datagrams with one and two hops to go.
func probe(t *testing.T, v ipVersion, c *net.UDPConn, firstHop netip.Addr) {
	t.Helper()
	setOption(t, c, v.level, v.recvErr, 1)
	setOption(t, c, v.level, v.hops, 1)
	if _, err := c.Write([]byte("how far?")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(v.expired(firstHop), nextReport(t, c), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("one hop: (-want +got)\n%s", diff)
	}
	setOption(t, c, v.level, v.hops, 2)
	expectEcho(t, c, 100)
}

// probeTCP connects with one and two hops to go.
func probeTCP(t *testing.T, s *stacks, v ipVersion) {
	t.Helper()
	w := openWire(t, s.client, "ext")
	connect := func(hops int) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(context.Background(), stackLimit)
		defer cancel()
		d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
			var err error
			return errors.Join(raw.Control(func(fd uintptr) {
				err = errors.Join(
					unix.SetsockoptInt(int(fd), v.level, v.hops, hops), unix.SetsockoptInt(int(fd), v.level, v.recvErr, 1))
			}), err)
		}}
		var c net.Conn
		err := netns.Do(s.client, func() (err error) {
			c, err = d.DialContext(ctx, "tcp", addrPort(v.vip, 80).String())
			return err
		})
		return c, err
	}
	if _, err := connect(1); !errors.Is(err, unix.EHOSTUNREACH) {
		t.Errorf("one hop: %v", err)
	}
	p, _ := w.receive(t, func(p packet.Packet) bool {
		return p.IsICMP() && p.Type != packet.NDAdvertisement && p.Type != packet.NDSolicitation
	})
	if want := v.expired(v.vip); p.Src != want.From || p.Type != want.Type || p.Code != 0 {
		t.Errorf("the error is of type %d, code %d, from %s", p.Type, p.Code, p.Src)
	}
	c, err := connect(2)
	check(t, err)
	check(t, carry(c, 2, func() error { return binary.Write(c, binary.BigEndian, uint64(2)) }, 3))
	check(t, c.Close())
}

// TestPing asks each VIP for echoes, whole and in fragments: they are answered while
// there is a target, in fragments if need be.
func TestPing(t *testing.T) {
	s := newStacks(t, 1)
	for _, vip := range vips {
		t.Run(vip.String(), func(t *testing.T) {
			p := newPinger(t, s.client, vip)
			for range 50 {
				for _, size := range []int{0, 56, 2_000, 20_000} {
					p.send(t, size)
					p.expect(t)
				}
			}
			check(t, s.lb.ClearTable(0))
			before, unanswered := s.dropsOf(t, DropNoTarget), uint64(0)
			for _, fragments := range []int{1, 1, 2, 14} {
				p.send(t, map[int]int{1: 56, 2: 2_000, 14: 20_000}[fragments])
				unanswered += uint64(fragments)
			}
			testutil.Eventually(t, stackLimit, "drops", func() bool { return s.dropsOf(t, DropNoTarget) == before+unanswered })
			check(t, s.lb.SetTable(0, s.table(0)))
			p.send(t, 56)
			p.expect(t) // the next answer is to this one
		})
	}
	s.lossless(t, DropNoTarget)
}

// pinger sends echo requests to an address and knows the last one.
type pinger struct {
	conn *net.IPConn
	ip   packet.IP
	r    *rand.Rand
	id   uint16
	seq  uint16
	data []byte
}

func newPinger(t *testing.T, ns string, to netip.Addr) *pinger {
	t.Helper()
	p := &pinger{ip: packet.IP{Src: client4, Dst: to}, r: rand.New(rand.NewPCG(seed(t), 0)), id: 0x5746}
	network := "ip4:icmp"
	if to.Is6() {
		p.ip.Src, network = client6, "ip6:ipv6-icmp"
	}
	check(t, netns.Do(ns, func() (err error) {
		p.conn, err = net.ListenIP(network, &net.IPAddr{IP: p.ip.Src.AsSlice()})
		return err
	}))
	t.Cleanup(func() { _ = p.conn.Close() })
	check(t, p.conn.SetDeadline(time.Now().Add(stackLimit)))
	return p
}

// send sends the next request, with as many bytes of data.
func (p *pinger) send(t *testing.T, size int) {
	t.Helper()
	p.seq++
	p.data = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, p.id), p.seq)
	p.data = append(p.data, randomBytes(p.r, size)...)
	kind := packet.EchoRequestV4
	if p.ip.Dst.Is6() {
		kind = packet.EchoRequestV6
	}
	_, message := p.ip.ICMP(kind, 0, p.data)
	_, err := p.conn.WriteToIP(message, &net.IPAddr{IP: p.ip.Dst.AsSlice()})
	check(t, err)
}

// expect checks that the next answer is that to the last request.
func (p *pinger) expect(t *testing.T) {
	t.Helper()
	kind := packet.EchoReplyV4
	if p.ip.Dst.Is6() {
		kind = packet.EchoReplyV6
	}
	buffer := make([]byte, 1<<16)
	for {
		n, from, err := p.conn.ReadFromIP(buffer)
		if err != nil {
			t.Fatalf("request %d of %d bytes: %v", p.seq, len(p.data), err)
		}
		if n < 8 || buffer[0] != kind {
			continue // the stack's own business
		}
		if addr, _ := netip.AddrFromSlice(from.IP); addr.Unmap() != p.ip.Dst || !bytes.Equal(buffer[4:n], p.data) {
			t.Fatalf("an answer of %d bytes from %s, want %d from %s", n-4, from, len(p.data), p.ip.Dst)
		}
		return
	}
}
