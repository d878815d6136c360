// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/testutil"
)

// TestTraffic passes the kernel's own TCP and UDP through the load balancer.
func TestTraffic(t *testing.T) {
	for _, vlan := range []uint16{0, 100} {
		t.Run(fmt.Sprintf("vlan=%d", vlan), func(t *testing.T) { testTraffic(t, vlan) })
	}
}

func testTraffic(t *testing.T, vlan uint16) {
	top := newTopology(t, 2, vlan)
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
}

// nameServer answers TCP connections and UDP packets to the VIPs with its name
// and the peer's address.
func nameServer(t *testing.T, ns, name string) {
	var group sync.WaitGroup
	t.Cleanup(group.Wait)
	for _, vip := range vips {
		at := netip.AddrPortFrom(vip, 80).String()
		l, c := testutil.Listen(t, ns, "tcp", at), testutil.ListenPacket(t, ns, "udp", at)
		group.Go(func() { nameStreams(l, name) })
		group.Go(func() { namePackets(c, name) })
	}
}

func nameStreams(l net.Listener, name string) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = fmt.Fprintf(conn, "%s %s", name, host(conn.RemoteAddr()))
		_ = conn.Close()
	}
}

func namePackets(c net.PacketConn, name string) {
	buffer := make([]byte, 1500)
	for {
		_, from, err := c.ReadFrom(buffer)
		if err != nil {
			return
		}
		_, _ = c.WriteTo(fmt.Appendf(nil, "%s %s", name, host(from)), from)
	}
}

func host(a net.Addr) netip.Addr { return netip.MustParseAddrPort(a.String()).Addr().Unmap() }

// ask returns a server's name; the source address must have been preserved.
func ask(ns, network string, vip netip.Addr, want netip.Addr) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, err := testutil.Dial(ctx, ns, network, "", netip.AddrPortFrom(vip, 80).String())
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", err
	}
	if network == "udp" {
		if _, err := c.Write([]byte("?")); err != nil {
			return "", err
		}
	}
	buffer := make([]byte, 100)
	n, err := io.ReadAtLeast(c, buffer, 10)
	if err != nil {
		return "", err
	}
	name, from, _ := strings.Cut(string(buffer[:n]), " ")
	if from != want.String() {
		return "", fmt.Errorf("server saw %s, want %s", from, want)
	}
	return name, nil
}

func testSpread(t *testing.T, top *topology, network string, vip netip.Addr) {
	from := client4
	if vip.Is6() {
		from = client6
	}
	count := make(map[string]int)
	for range 60 {
		name, err := ask(top.client, network, vip, from)
		if err != nil {
			t.Fatal(err)
		}
		count[name]++
	}
	t.Log(count)
	if len(count) != len(top.targets) {
		t.Errorf("answers from %v, want all %d targets", count, len(top.targets))
	}
}

// testBulk sends more than single packets: GSO, both ways.
func testBulk(t *testing.T, top *topology) {
	for _, ns := range top.targets {
		testutil.Echo(t, ns, "[::]:7")
	}
	text := strings.Repeat("Weft weaves networks. ", 200_000)
	for _, vip := range vips {
		answer, err := testutil.Exchange(top.client, "tcp", "", netip.AddrPortFrom(vip, 7).String(), text)
		if err != nil || answer != text {
			t.Errorf("%s: %d of %d bytes came back: %v", vip, len(answer), len(text), err)
		}
	}
}

func testCounts(t *testing.T, top *topology) {
	counts, err := top.lb.Counters()
	check(t, err)
	t.Log(counts)
	for _, r := range []Reason{Forwarded, ReplyForwarded, ARPAnswered, NDAnswered} {
		if counts[r] == 0 {
			t.Errorf("no packet counted as %s", r)
		}
	}
	for r, n := range counts {
		if r.Drop() && n != 0 {
			t.Errorf("%d packets dropped: %s", n, r)
		}
	}
	var packets uint64
	for i := range top.targets {
		n, err := top.lb.TargetTraffic(uint16(i + 1))
		check(t, err)
		packets += n.Packets
		if n.Packets == 0 || n.Bytes < 40*n.Packets {
			t.Errorf("target %d: %+v", i, n)
		}
	}
	if packets != counts[Forwarded] {
		t.Errorf("targets got %d packets, %d were forwarded", packets, counts[Forwarded])
	}
}
