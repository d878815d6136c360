// SPDX-License-Identifier: Apache-2.0

package xconnect

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
)

const limit = 5 * time.Second

func deadline() time.Time { return time.Now().Add(limit) }

var (
	addresses = [2][]netip.Prefix{
		{netip.MustParsePrefix("10.0.0.1/24"), netip.MustParsePrefix("fd00::1/64")},
		{netip.MustParsePrefix("10.0.0.2/24"), netip.MustParsePrefix("fd00::2/64")},
	}
	servers = []string{"10.0.0.2", "fd00::2"}
)

// star is a client and endpoints around a cross-connect. All endpoints have
// the same addresses; the client reaches them by the gateway's MAC.
type star struct {
	x              *XConnect
	host           string
	client         spoke
	endpoints      []spoke
	clientH, hostH *nl.Handle
}

type spoke struct {
	ns           string
	outer, inner nl.Link
}

func newStar(t testing.TB, endpoints int, cfg Config) *star {
	t.Helper()
	testutil.Require(t, "bpf", "netns")
	s := &star{host: testutil.NetNS(t)}
	cfg.NetNS = s.host
	s.x = open(t, cfg)
	s.hostH = testutil.Handle(t, s.host)
	s.client = s.spoke(t, "client", 0)
	must(t, s.x.SetClient(s.client.outer.Index, nil))
	for i := range endpoints {
		e := s.spoke(t, "e"+string(rune('0'+i)), 1)
		must(t, s.x.SetEndpoint(e.outer.Index, s.client.outer.Index, 0))
		s.endpoints = append(s.endpoints, e)
		h := testutil.Handle(t, e.ns)
		for _, a := range addresses[0] {
			must(t, h.AddNeighbour(e.inner.Index, a.Addr(), s.client.inner.MAC))
		}
	}
	s.clientH = testutil.Handle(t, s.client.ns)
	for _, a := range addresses[1] {
		must(t, s.clientH.AddNeighbour(s.client.inner.Index, a.Addr(), DefaultGateway))
	}
	return s
}

func (s *star) spoke(t testing.TB, name string, side int) spoke {
	t.Helper()
	return newSpoke(t, s.x, s.hostH, name, side, 0)
}

// newSpoke makes an interface on a node, whose outer end has joined.
func newSpoke(t testing.TB, x *XConnect, host *nl.Handle, name string, side, mtu int) spoke {
	t.Helper()
	ns := testutil.NetNS(t)
	outer, inner, err := host.AddVeth(nl.Veth{Name: name, PeerName: "eth0", PeerNetNS: ns, NoLinkLocal: true, MTU: mtu})
	must(t, err)
	h := testutil.Handle(t, ns)
	for _, a := range addresses[side] {
		must(t, h.AddAddress(inner.Index, a))
	}
	// The inner end last: only so it can send at once.
	must(t, x.Attach(outer.Index), x.Attach(outer.Index), host.SetUp(outer.Index), h.SetUp(inner.Index))
	for _, a := range addresses[side] {
		testutil.Eventually(t, limit, "delivery to "+a.String(), func() bool {
			ok, err := h.Delivers(a.Addr())
			return ok && err == nil
		})
	}
	return spoke{ns: ns, outer: outer, inner: inner}
}

func (s *star) use(t testing.TB, endpoints ...int) {
	t.Helper()
	var set []Leg
	for _, i := range endpoints {
		set = append(set, Leg{IfIndex: s.endpoints[i].outer.Index, MAC: s.endpoints[i].inner.MAC})
	}
	must(t, s.x.SetClient(s.client.outer.Index, set))
}

func TestTraffic(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	s := newStar(t, 2, Config{})
	var at [2][]string
	for i, e := range s.endpoints {
		for _, server := range servers {
			at[i] = append(at[i], testutil.Echo(t, e.ns, net.JoinHostPort(server, "80")))
		}
	}
	for _, set := range [][]int{{0}, {1}, {0, 1}} {
		s.use(t, set...)
		for _, address := range at[0] {
			for range 8 { // flows over both legs
				testutil.MustExchange(t, s.client.ns, "udp", "", address)
				testutil.MustExchange(t, s.client.ns, "tcp", "", address)
			}
		}
	}
	counters, err := s.x.Counters()
	must(t, err)
	for _, reason := range []Reason{ToClient, OnlyLeg, Anycast} {
		if counters[reason] == 0 {
			t.Errorf("no frame counted as %v", reason)
		}
	}
	for _, reason := range []Reason{NoPort, TooShort, Stale, Rewrite, UnknownMAC} {
		if counters[reason] != 0 {
			t.Errorf("%d frames dropped as %v", counters[reason], reason)
		}
	}
}

// With one leg and no neighbour entries, ARP and ND cross by themselves.
func TestAddressResolutionCrosses(t *testing.T) {
	s := newStar(t, 1, Config{})
	for _, a := range addresses[1] {
		must(t, s.clientH.DeleteNeighbour(s.client.inner.Index, a.Addr()))
	}
	s.use(t, 0)
	for _, server := range servers {
		at := testutil.Echo(t, s.endpoints[0].ns, net.JoinHostPort(server, "80"))
		testutil.MustExchange(t, s.client.ns, "tcp", "", at)
	}
}

// Legs come and go under a stream of numbered packets; none is lost.
func TestChangesLoseNothing(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	for i, server := range servers {
		t.Run(server, func(t *testing.T) {
			s := newStar(t, 2, Config{})
			s.use(t, 0)
			var received [2]receiver
			for e := range s.endpoints {
				received[e].start(t, s.endpoints[e].ns, net.JoinHostPort(server, "80"))
			}
			const packets = 30000
			sockets := flows(t, s.client.ns, addresses[1][i].Addr())
			sets := [][]int{{0, 1}, {1}, {1, 0}, {0}}
			for n := range uint32(packets) {
				if n%100 == 0 {
					s.use(t, sets[n/100%4]...)
				}
				must(t, send(sockets, n))
			}
			testutil.Eventually(t, limit, "all packets", func() bool {
				return received[0].count.Load()+received[1].count.Load() >= packets
			})
			for e := range received {
				if n := received[e].count.Load(); n < packets/4 {
					t.Errorf("endpoint %d received %d of %d packets", e, n, packets)
				}
			}
		})
	}
}

// receiver counts different sequence numbers.
type receiver struct {
	count atomic.Int64
}

func (r *receiver) start(t testing.TB, ns, address string) {
	t.Helper()
	c := testutil.ListenPacket(t, ns, "udp", address)
	must(t, c.(*net.UDPConn).SetReadBuffer(8<<20))
	done := make(chan struct{})
	t.Cleanup(func() { _ = c.Close(); <-done })
	go func() {
		defer close(done)
		seen := map[uint32]bool{}
		buffer := make([]byte, 64)
		for {
			n, _, err := c.ReadFrom(buffer)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil && n == 4 && !seen[binary.BigEndian.Uint32(buffer)] {
				seen[binary.BigEndian.Uint32(buffer)] = true
				r.count.Add(1)
			}
		}
	}()
}

// flows opens sockets of different flows.
func flows(t testing.TB, ns string, to netip.Addr) []net.Conn {
	t.Helper()
	return flowsTo(t, ns, netip.AddrPortFrom(to, 80), 16)
}

func flowsTo(t testing.TB, ns string, to netip.AddrPort, n int) []net.Conn {
	t.Helper()
	var sockets []net.Conn
	for range n {
		c, err := testutil.Dial(t.Context(), ns, "udp", "", to.String())
		must(t, err)
		t.Cleanup(func() { _ = c.Close() })
		sockets = append(sockets, c)
	}
	return sockets
}

// send sends the number by one of the flows.
func send(sockets []net.Conn, n uint32) error {
	_, err := sockets[n%uint32(len(sockets))].Write(binary.BigEndian.AppendUint32(nil, n))
	return err
}

// The ports of a closed cross-connect go on forwarding when kept, and the
// next one takes them over.
func TestPinned(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	dir := t.TempDir()
	must(t, unix.Mount("bpf", dir, "bpf", 0, ""))
	t.Cleanup(func() { must(t, unix.Unmount(dir, 0)) })
	pins := filepath.Join(dir, "weft")

	s := newStar(t, 1, Config{PinDir: pins})
	s.use(t, 0)
	at := testutil.Echo(t, s.endpoints[0].ns, net.JoinHostPort(servers[0], "80"))
	testutil.MustExchange(t, s.client.ns, "tcp", "", at)
	must(t, s.x.Close(true))
	testutil.MustExchange(t, s.client.ns, "tcp", "", at)

	again, err := Open(Config{NetNS: s.host, PinDir: pins})
	must(t, err)
	testutil.MustExchange(t, s.client.ns, "tcp", "", at)
	ports, err := again.Ports()
	must(t, err)
	if len(ports) != 2 || !contains(ports, s.client.outer.Index) || !contains(ports, s.endpoints[0].outer.Index) {
		t.Errorf("ports %v, want those of before", ports)
	}
	must(t, again.Attach(s.client.outer.Index), again.SetClient(s.client.outer.Index, nil))
	if got := run(t, again, s.client.outer.Index, frame(DefaultGateway, 1)); got.Reason != NoLeg {
		t.Errorf("after a change: %v, want %v", got, NoLeg)
	}
	must(t, again.Close(false))
	if _, err := os.Stat(pins); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the pin directory remains: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	for name, cfg := range map[string]Config{
		"no bpffs":     {PinDir: t.TempDir()},
		"no namespace": {NetNS: "/run/netns/missing"},
		"short MAC":    {Gateway: net.HardwareAddr{1, 2, 3}},
	} {
		if x, err := Open(cfg); err == nil {
			t.Errorf("%s: opened", name)
			must(t, x.Close(false))
		}
	}
}

func TestAttachRefuses(t *testing.T) {
	s := newStar(t, 0, Config{})
	if err := s.x.Attach(4711); !errors.Is(err, nl.ErrNotFound) {
		t.Errorf("missing interface: %v, want ErrNotFound", err)
	}
	other := open(t, Config{NetNS: s.host})
	if err := other.Attach(s.client.outer.Index); !errors.Is(err, nl.ErrExists) {
		t.Errorf("another one's interface: %v, want ErrExists", err)
	}
	must(t, s.x.Delete(s.client.outer.Index), other.Attach(s.client.outer.Index))
}
