// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"io"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/tunnel"
)

// BenchmarkTunnel compares the way of one workload's packets to another node's
// by plain VXLAN and by WireGuard, which is a process's here unless the kernel
// has it. Both nodes share the machine's CPUs.
func BenchmarkTunnel(b *testing.B) {
	testutil.Require(b, "bpf", "netns")
	for _, c := range []struct {
		name string
		join func(b *testing.B, from, to *node) int
	}{{"vxlan", joinPlain}, {"wireguard", joinEncrypted}} {
		b.Run(c.name, func(b *testing.B) {
			from, to := newPair(b, Auto, nodeA, nodeB)
			from.cfg.Log, to.cfg.Log = slog.New(slog.DiscardHandler), slog.New(slog.DiscardHandler)
			mtu := c.join(b, from, to)
			for _, n := range []*node{from, to} {
				must(b, testutil.Handle(b, n.workload).SetMTU(testutil.Link(b, n.workload, "w0").Index, mtu))
			}
			from.mustReach(to.serve())
			b.Run("TCP", func(b *testing.B) { benchTCP(b, from, to) })
			b.Run("UDP64", func(b *testing.B) { benchUDP(b, from, to) })
			b.Run("RTT", func(b *testing.B) { benchRTT(b, from, to) })
		})
	}
}

func joinEncrypted(b *testing.B, from, to *node) int {
	from.open()
	to.open()
	request(b, from, to, func() {})
	return from.path.MTU
}

func joinPlain(b *testing.B, from, to *node) int {
	open := func(n *node) int {
		d, err := tunnel.Open(tunnel.Config{NetNS: n.ns})
		must(b, err, n.x.AttachDevice(d.Index()))
		b.Cleanup(func() { must(b, d.Close(false)) })
		return d.Index()
	}
	from.stitch(Path{Device: open(from), Local: from.addr, Remote: to.addr}, from.client(to))
	to.stitch(Path{Device: open(to), Local: to.addr, Remote: from.addr}, to.endpoint())
	return 1500 - tunnel.OverheadIPv4
}

// benchTCP moves one chunk per iteration.
func benchTCP(b *testing.B, from, to *node) {
	const chunk = 1 << 20
	l := testutil.Listen(b, to.workload, "tcp", netip.AddrPortFrom(to.inside, 6000).String())
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		must(b, err)
		accepted <- c
	}()
	out, err := testutil.Dial(b.Context(), from.workload, "tcp", "", l.Addr().String())
	must(b, err)
	in := <-accepted
	b.SetBytes(chunk)
	done := make(chan error, 1)
	b.ResetTimer()
	go func() {
		_, err := io.CopyN(io.Discard, in, int64(b.N)*chunk)
		done <- err
	}()
	data := make([]byte, chunk)
	for range b.N {
		_, err := out.Write(data)
		must(b, err)
	}
	must(b, <-done)
	b.StopTimer()
	b.ReportMetric(float64(b.N)*chunk*8/b.Elapsed().Seconds()/1e9, "Gbit/s")
	must(b, out.Close(), in.Close(), l.Close())
}

// benchUDP sends as fast as it can and counts what arrives, of 64 bytes each.
func benchUDP(b *testing.B, from, to *node) {
	in := testutil.ListenPacket(b, to.workload, "udp4", netip.AddrPortFrom(to.inside, 6001).String())
	out, err := testutil.Dial(b.Context(), from.workload, "udp", "", in.LocalAddr().String())
	must(b, err)
	var count int
	var last time.Time
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 100)
		for {
			if _, _, err := in.ReadFrom(buffer); err != nil {
				return
			}
			count++
			last = time.Now()
		}
	}()
	payload := make([]byte, 64)
	b.ResetTimer()
	start := time.Now()
	for range b.N {
		_, err := out.Write(payload)
		must(b, err)
	}
	b.StopTimer()
	must(b, in.SetReadDeadline(time.Now().Add(200*time.Millisecond)))
	<-done
	b.ReportMetric(float64(count)/last.Sub(start).Seconds()/1e3, "kpps")
	must(b, out.Close(), in.Close())
}

func benchRTT(b *testing.B, from, to *node) {
	addr := testutil.Echo(b, to.workload, netip.AddrPortFrom(to.inside, 6002).String())
	c, err := testutil.Dial(b.Context(), from.workload, "udp", "", addr)
	must(b, err, c.SetDeadline(time.Now().Add(time.Minute)))
	defer func() { _ = c.Close() }()
	buffer := make([]byte, 64)
	for b.Loop() {
		_, err := c.Write(buffer)
		must(b, err)
		_, err = c.Read(buffer)
		must(b, err)
	}
}
