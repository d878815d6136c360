// SPDX-License-Identifier: Apache-2.0

package liveness

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/liveness/frame"
	"github.com/weft-project/weft/internal/stitch"
	"github.com/weft-project/weft/pkg/dataplane/xconnect"
)

const device = 7

// network is a simulated underlay. Its zero value is perfect.
type network struct {
	seed      uint64
	mu        sync.Mutex
	random    *rand.Rand
	loss      float64 // of each frame
	duplicate float64
	jitter    time.Duration // delays are random up to this, so frames overtake each other
	cut       map[[2]netip.Addr]bool
	nodes     map[netip.Addr]*node
	frames    map[frame.Type]int // that were sent
}

func newNetwork(seed uint64) *network {
	return &network{
		seed: seed, random: rand.New(rand.NewPCG(seed, 0)), cut: map[[2]netip.Addr]bool{},
		nodes: map[netip.Addr]*node{}, frames: map[frame.Type]int{},
	}
}

// partition cuts or mends both directions.
func (n *network) partition(a, b *node, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[[2]netip.Addr{a.address, b.address}] = cut
	n.cut[[2]netip.Addr{b.address, a.address}] = cut
}

func (n *network) impair(loss, duplicate float64, jitter time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.loss, n.duplicate, n.jitter = loss, duplicate, jitter
}

func (n *network) count(kind frame.Type) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.frames[kind]
}

// carry takes a datagram to its destination, or not.
func (n *network) carry(from, to netip.Addr, f frame.Frame) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.frames[f.Type]++
	copies := 1
	if n.random.Float64() < n.duplicate {
		copies = 2
	}
	for range copies {
		if n.random.Float64() < n.loss {
			continue
		}
		delay := 100 * time.Microsecond
		if n.jitter > 0 {
			delay += time.Duration(n.random.Int64N(int64(n.jitter)))
		}
		time.AfterFunc(delay, func() {
			n.mu.Lock()
			target := n.nodes[to]
			cut := n.cut[[2]netip.Addr{from, to}]
			n.mu.Unlock()
			if target != nil && !cut {
				target.receive(from, f)
			}
		})
	}
}

// node is the kernel of a simulated node, and the process that uses it.
type node struct {
	net     *network
	address netip.Addr

	mu       sync.Mutex
	boot     uint64
	started  uint64 // processes
	peers    map[netip.Addr]uint64
	tunnels  map[uint32]bool // by VNI, known to the kernel
	watch    func(xconnect.Control)
	refuse   error  // of every send
	stall    func() // the process is stopped here
	off      bool
	process  *Liveness
	mutedLog *slog.Logger

	calls map[uint32]int  // of Changed
	told  map[uint32]view // by the last one
}

// view is what Carrier returns.
type view struct{ up, known bool }

func (n *network) add(address string) *node {
	a := &node{
		net: n, address: netip.MustParseAddr(address), peers: map[netip.Addr]uint64{}, tunnels: map[uint32]bool{},
		calls: map[uint32]int{}, told: map[uint32]view{}, mutedLog: slog.New(slog.DiscardHandler),
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.nodes[a.address] = a
	return a
}

// start starts a process.
func (a *node) start(t testing.TB) *Liveness {
	t.Helper()
	a.mu.Lock()
	a.started++
	first := a.boot<<bootShift | a.started<<32
	a.mu.Unlock()
	var l *Liveness
	var err error
	l, err = New(Options{
		Plane: a, Logger: a.mutedLog, transport: a, first: func() uint64 { return first },
		Changed: func(t xconnect.Tunnel) {
			up, known := l.Carrier(stitch.Tunnel{Tunnel: t})
			a.mu.Lock()
			defer a.mu.Unlock()
			a.calls[t.VNI]++
			a.told[t.VNI] = view{up, known}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	a.process = l
	return l
}

// kill ends the process; the kernel goes on.
func (a *node) kill(t testing.TB) {
	t.Helper()
	if err := a.process.Close(); err != nil {
		t.Error(err)
	}
	a.process = nil
}

// reboot forgets everything.
func (a *node) reboot(t testing.TB) {
	t.Helper()
	if a.process != nil {
		a.kill(t)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.peers, a.tunnels = map[netip.Addr]uint64{}, map[uint32]bool{}
	a.boot = (a.boot + 40503) & 0xffff // never the same again, in no order
	a.started = 0
}

// power switches the kernel, too.
func (a *node) power(on bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.off = !on
}

func (a *node) tunnelTo(b *node, vni uint32) stitch.Tunnel {
	return stitch.Tunnel{
		Tunnel:  xconnect.Tunnel{Device: device, Local: a.address, Remote: b.address, VNI: vni},
		Signals: true,
	}
}

// join makes the tunnel known to the kernel, too.
func (a *node) join(b *node, vni uint32) stitch.Tunnel {
	t := a.tunnelTo(b, vni)
	a.mu.Lock()
	a.tunnels[vni] = true
	delete(a.told, vni)
	a.mu.Unlock()
	a.process.Join(t)
	up, known := a.process.Carrier(t)
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.told[vni]; !ok {
		a.told[vni] = view{up, known}
	}
	return t
}

func (a *node) leave(b *node, vni uint32) {
	a.process.Leave(a.tunnelTo(b, vni))
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.tunnels, vni)
}

// receive is the program at the device's ingress.
func (a *node) receive(from netip.Addr, f frame.Frame) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.off {
		return
	}
	_, known := a.peers[from]
	switch f.Type {
	case frame.Probe:
		if known {
			f.Type = frame.ProbeReply
			go a.net.carry(a.address, from, f)
		}
	case frame.ProbeReply:
		if known {
			a.peers[from] = f.Nonce
		}
	default:
		if a.tunnels[f.VNI] && a.watch != nil {
			go a.watch(xconnect.Control{
				Tunnel: xconnect.TunnelKey{Device: device, Remote: from, VNI: f.VNI},
				Type:   xconnect.ControlType(f.Type), Flags: uint8(f.Flags), Nonce: f.Nonce,
			})
		}
	}
}

// SetPeer, DeletePeer, PeerReply, Peers and WatchControl implement Plane.
func (a *node) SetPeer(_ int, remote netip.Addr) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.peers[remote]; !ok {
		a.peers[remote] = 0
	}
	return nil
}

func (a *node) DeletePeer(_ int, remote netip.Addr) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.peers, remote)
	return nil
}

func (a *node) PeerReply(_ int, remote netip.Addr) (time.Duration, uint64, error) {
	a.stalled()
	defer a.stalled()
	a.mu.Lock()
	defer a.mu.Unlock()
	nonce, ok := a.peers[remote]
	if !ok {
		return 0, 0, errors.New("no such peer")
	}
	return 0, nonce, nil
}

func (a *node) Peers() (peers []xconnect.Peer, _ error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for remote := range a.peers {
		peers = append(peers, xconnect.Peer{Device: device, Remote: remote})
	}
	return peers, nil
}

func (a *node) WatchControl(fn func(xconnect.Control)) (io.Closer, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.watch = fn
	return watcher{a}, nil
}

type watcher struct{ a *node }

func (w watcher) Close() error {
	w.a.mu.Lock()
	defer w.a.mu.Unlock()
	w.a.watch = nil
	return nil
}

// open, send, release and close implement transport.
func (*node) open(source) error { return nil }

func (a *node) send(from source, to netip.Addr, datagram []byte) error {
	f, err := frame.Parse(datagram)
	if err != nil {
		return err
	}
	if from != (source{device: device, local: a.address}) {
		return fmt.Errorf("sent from %+v", from)
	}
	a.stalled()
	defer a.stalled()
	a.mu.Lock()
	refuse, off := a.refuse, a.off
	a.mu.Unlock()
	if refuse == nil && !off {
		a.net.carry(a.address, to, f)
	}
	return refuse
}

func (*node) release(source) {}
func (*node) close() error   { return nil }

func (a *node) stalled() {
	a.mu.Lock()
	stall := a.stall
	a.mu.Unlock()
	if stall != nil {
		stall()
	}
}

func (a *node) refuseSends(errno unix.Errno) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refuse = errno
	if errno == 0 {
		a.refuse = nil
	}
}

// takeCalls returns how often Changed was called, by VNI, since the last time.
func (a *node) takeCalls() map[uint32]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	calls := a.calls
	a.calls = map[uint32]int{}
	return calls
}

// simulate runs a test with two nodes whose processes have started.
func simulate(t *testing.T, fn func(t *testing.T, n *network, a, b *node)) {
	synctest.Test(t, func(t *testing.T) {
		seed := rand.Uint64()
		t.Logf("seed %#x", seed)
		n := newNetwork(seed)
		a, b := n.add("192.0.2.1"), n.add("192.0.2.2")
		a.start(t)
		b.start(t)
		defer func() {
			for _, x := range []*node{a, b} {
				if x.process != nil {
					x.kill(t)
				}
			}
		}()
		fn(t, n, a, b)
	})
}

// within waits until ok in simulated time and returns how long it took.
func within(t *testing.T, limit time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		synctest.Wait()
		if ok() {
			return time.Since(began)
		}
		if time.Since(began) >= limit {
			t.Fatalf("%s: not within %v", what, limit)
		}
		time.Sleep(time.Millisecond)
	}
}

// sees says that the process believes this of the tunnel's far end.
func (a *node) sees(t stitch.Tunnel, up, known bool) func() bool {
	return func() bool {
		gotUp, gotKnown := a.process.Carrier(t)
		return gotUp == up && gotKnown == known
	}
}

// pair joins a tunnel on both sides, with carrier.
func pair(t *testing.T, a, b *node, vni uint32) (ta, tb stitch.Tunnel) {
	t.Helper()
	ta, tb = a.join(b, vni), b.join(a, vni)
	a.process.SetCarrier(ta, true)
	b.process.SetCarrier(tb, true)
	within(t, time.Second, "carrier at both ends", func() bool { return a.sees(ta, true, true)() && b.sees(tb, true, true)() })
	return ta, tb
}
