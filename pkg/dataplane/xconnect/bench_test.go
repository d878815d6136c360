// SPDX-License-Identifier: Apache-2.0

package xconnect

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/testutil/bpftest"
)

// BenchmarkProgram times the program beside an empty one, in the same run.
func BenchmarkProgram(b *testing.B) {
	testutil.Require(b, "bpf")
	const (
		lo      = 1
		repeats = 100_000
	)
	for _, c := range []struct {
		name string
		set  func(x *XConnect) error
		dst  net.HardwareAddr
	}{
		{"endpoint", func(x *XConnect) error { return x.SetEndpoint(lo, 2, 1) }, DefaultGateway},
		{"one-leg", func(x *XConnect) error { return x.SetClient(lo, legs(1, 0)) }, DefaultGateway},
		{"two-legs-anycast", func(x *XConnect) error { return x.SetClient(lo, legs(2, 0)) }, DefaultGateway},
		{"two-legs-mac", func(x *XConnect) error { return x.SetClient(lo, legs(2, 0)) }, mac(1)},
		{"64-legs-anycast", func(x *XConnect) error { return x.SetClient(lo, legs(64, 0)) }, DefaultGateway},
		{"64-legs-last-mac", func(x *XConnect) error { return x.SetClient(lo, legs(64, 0)) }, mac(63)},
	} {
		b.Run(c.name, func(b *testing.B) {
			x := open(b, Config{})
			must(b, c.set(x))
			empty := bpftest.Empty(b)
			var mine, floor []float64
			for b.Loop() {
				f := frame(c.dst, 1)
				t, err := bpftest.Time(x.objects.Xconnect, f, lo, repeats)
				must(b, err)
				e, err := bpftest.Time(empty, f, lo, repeats)
				must(b, err)
				mine, floor = append(mine, float64(t)), append(floor, float64(e))
			}
			b.ReportMetric(0, "ns/op") // of the loop, not of the program
			b.ReportMetric(bpftest.Median(mine), "ns/packet")
			b.ReportMetric(bpftest.Median(floor), "ns/empty")
			b.ReportMetric(bpftest.Median(mine)-bpftest.Median(floor), "ns/net")
		})
	}
}

// path is a way between two namespaces that carries traffic.
type path struct{ from, to string }

// barePair is one veth pair between two namespaces: the floor.
func barePair(b *testing.B) path {
	b.Helper()
	p := path{testutil.NetNS(b), testutil.NetNS(b)}
	h := testutil.Handle(b, p.from)
	a, z, err := h.AddVeth(nl.Veth{Name: "eth0", PeerName: "eth0", PeerNetNS: p.to, PeerUp: true})
	must(b, err, h.SetUp(a.Index))
	peer := testutil.Handle(b, p.to)
	for i := range addresses[0] {
		must(b, h.AddAddress(a.Index, addresses[0][i]), peer.AddAddress(z.Index, addresses[1][i]))
	}
	return p
}

// crossed is the cross-connect between a client and its only endpoint.
func crossed(b *testing.B) path {
	b.Helper()
	s := newStar(b, 1, Config{})
	s.use(b, 0)
	return path{s.client.ns, s.endpoints[0].ns}
}

// anycast is the cross-connect with two legs, one of them local: every frame
// is hashed and rewritten.
func anycast(b *testing.B) path {
	b.Helper()
	s := newStar(b, 2, Config{})
	must(b, s.x.SetClient(s.client.outer.Index, []Leg{
		{IfIndex: s.endpoints[0].outer.Index, MAC: s.endpoints[0].inner.MAC, Local: true},
		{IfIndex: s.endpoints[1].outer.Index, MAC: s.endpoints[1].inner.MAC},
	}))
	return path{s.client.ns, s.endpoints[0].ns}
}

// crossedTCX is crossed with the program attached by tcx instead.
func crossedTCX(b *testing.B) path {
	b.Helper()
	s := newStar(b, 1, Config{})
	s.use(b, 0)
	for _, index := range []int{s.client.outer.Index, s.endpoints[0].outer.Index} {
		must(b, s.x.block.Leave(index))
		must(b, netns.Do(s.host, func() error {
			l, err := link.AttachTCX(link.TCXOptions{Interface: index, Program: s.x.objects.Xconnect, Attach: ebpf.AttachTCXIngress})
			if err == nil {
				b.Cleanup(func() { _ = l.Close() })
			}
			return err
		}))
	}
	return path{s.client.ns, s.endpoints[0].ns}
}

// slot is one measurement of one path: short, so that the paths that are
// compared see the same noise.
const slot = 50 * time.Millisecond

// contender is a path that is compared with others.
type contender struct {
	name  string
	build func(*testing.B) path
}

// here are the paths on one node.
var here = []contender{{"veth", barePair}, {"xconnect", crossed}, {"anycast", anycast}, {"tcx", crossedTCX}}

// meter measures a rate over one path for a slot.
type meter func(b *testing.B, p path) func() float64

// compareRates measures the paths in turns and reports the medians of the
// rates and of the ratios to the first path in the same turn.
func compareRates(b *testing.B, unit string, rate meter, contenders []contender) {
	testutil.Require(b, "bpf", "netns")
	var names []string
	var measure []func() float64
	for _, c := range contenders {
		names = append(names, c.name)
		measure = append(measure, rate(b, c.build(b)))
	}
	rates, ratios := make([][]float64, len(names)), make([][]float64, len(names))
	for b.Loop() {
		for i := range measure {
			now := measure[i]()
			rates[i] = append(rates[i], now)
			ratios[i] = append(ratios[i], now/rates[0][len(rates[0])-1])
		}
	}
	b.ReportMetric(0, "ns/op")
	for i, name := range names {
		b.ReportMetric(bpftest.Median(rates[i]), name+"-"+unit)
		if i > 0 {
			b.ReportMetric(bpftest.Median(ratios[i]), name+"/"+names[0])
		}
	}
}

// BenchmarkTCP compares the throughput of one TCP connection.
func BenchmarkTCP(b *testing.B) { compareRates(b, "Gbit/s", tcpRate, here) }

func tcpRate(b *testing.B, p path) func() float64 {
	b.Helper()
	l := testutil.Listen(b, p.to, "tcp", "10.0.0.2:0")
	var received atomic.Int64
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		buffer := make([]byte, 1<<18)
		for {
			n, err := c.Read(buffer)
			received.Add(int64(n))
			if err != nil {
				_ = c.Close()
				return
			}
		}
	}()
	c, err := testutil.Dial(b.Context(), p.from, "tcp", "", l.Addr().String())
	must(b, err)
	b.Cleanup(func() { _ = c.Close() })
	buffer := make([]byte, 1<<18)
	return func() float64 {
		start, before := time.Now(), received.Load()
		for time.Since(start) < slot {
			if _, err := c.Write(buffer); err != nil {
				b.Fatal(err)
			}
		}
		return float64(received.Load()-before) * 8 / time.Since(start).Seconds() / 1e9
	}
}

// BenchmarkUDP compares the rate of 64-byte frames.
func BenchmarkUDP(b *testing.B) { compareRates(b, "kpps", udpRate, here) }

func udpRate(b *testing.B, p path) func() float64 {
	b.Helper()
	server := udpSocket(b, p.to)
	must(b, unix.Bind(server, &unix.SockaddrInet4{Port: 80, Addr: [4]byte{10, 0, 0, 2}}))
	var received atomic.Int64
	var group sync.WaitGroup
	group.Go(func() {
		batch := newBatch()
		for {
			n := batch.call(unix.SYS_RECVMMSG, server)
			if n <= 0 || batch.headers[0].length == 0 { // shut down
				return
			}
			received.Add(int64(n))
		}
	})
	b.Cleanup(func() {
		_ = unix.Shutdown(server, unix.SHUT_RDWR)
		group.Wait()
	})
	client := udpSocket(b, p.from)
	must(b, unix.Connect(client, &unix.SockaddrInet4{Port: 80, Addr: [4]byte{10, 0, 0, 2}}))
	batch := newBatch()
	return func() float64 {
		start, before := time.Now(), received.Load()
		for time.Since(start) < slot {
			if n := batch.call(unix.SYS_SENDMMSG, client); n < 0 {
				b.Fatal("send failed")
			}
		}
		return float64(received.Load()-before) / time.Since(start).Seconds() / 1e3
	}
}

// udpSocket opens a blocking socket; Go's own would measure its poller.
func udpSocket(b *testing.B, ns string) int {
	b.Helper()
	fd := -1
	must(b, netns.Do(ns, func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return err
	}))
	b.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

// batch is a set of messages for sendmmsg and recvmmsg.
type batch struct {
	headers [64]struct { // struct mmsghdr
		unix.Msghdr
		length uint32
	}
	vectors  [64]unix.Iovec
	payloads [64][64 - 14 - 20 - 8]byte
}

func newBatch() *batch {
	m := &batch{}
	for i := range m.headers {
		m.vectors[i].Base = &m.payloads[i][0]
		m.vectors[i].SetLen(len(m.payloads[i]))
		m.headers[i].Iov = &m.vectors[i]
		m.headers[i].SetIovlen(1)
	}
	return m
}

// call returns the number of messages, negative for an error. Receiving waits
// for the first one only.
func (m *batch) call(number uintptr, fd int) int {
	flags := 0
	if number == unix.SYS_RECVMMSG {
		flags = unix.MSG_WAITFORONE
	}
	n, _, errno := unix.Syscall6(number, uintptr(fd), uintptr(unsafe.Pointer(&m.headers[0])), uintptr(len(m.headers)), uintptr(flags), 0, 0)
	if errno != 0 {
		return -1
	}
	return int(n)
}
