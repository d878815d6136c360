// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/testutil"
)

// lives is a topology whose load balancer is processes, one after the other.
type lives struct {
	*loadWorld
	pins   string
	number int
}

func newLives(t *testing.T) *lives {
	pins := filepath.Join(pinsOf(t), "lb-1")
	s := &stacks{topology: newTopologyOf(t, 3, Config{PinDir: pins})}
	s.balance(t)
	for _, ns := range append([]string{s.client, s.ns}, s.targets...) {
		testutil.Eventually(t, stackLimit, "queues of the interfaces", func() bool { return queuesReady(t, ns) })
	}
	w := &loadWorld{stacks: s, r: rand.New(rand.NewPCG(seed(t), 0)), tables: [][]uint16{s.table(0)}}
	t.Cleanup(func() {
		check(t, Discard(pins))
		nothingLeft(t, s.ns, pins)
	})
	return &lives{loadWorld: w, pins: pins}
}

// next returns the next generation: another version, with other maps and numbers.
func (w *lives) next() generation {
	w.number++
	g := generation{
		Config: Config{
			NetNS: w.ns, Interface: "ext", PinDir: w.pins,
			MaxTargets: 100 + 64*w.number, MaxStreams: 8 + w.number, MaxTableSize: uint32(1009 + 2*w.number),
			MaxFragments: 64 << (w.number % 5),
		},
		FirstID: uint16(1 + 7*w.number%60), Stream: uint32(w.number % 8),
	}
	for _, leg := range w.legs {
		g.Legs = append(g.Legs, leg.Index)
	}
	return g
}

// TestGenerations restarts and kills the process of a load balancer, each time
// to one with other programs and maps, while packets pass and TCP is echoed: none
// is lost, no flow moves.
func TestGenerations(t *testing.T) {
	w := newLives(t)
	for _, ns := range w.targets {
		testutil.Echo(t, ns, "[::]:7")
	}
	w.sender, w.receivers = newLoad(t, w.stacks, 2000, 0)
	stop := w.load(t)
	check(t, w.lb.Abandon()) // the first one ends
	conns := w.connect(t)
	for i := range 4 {
		p := w.next().run(t)
		conns.exchange(t)
		if i%2 == 0 {
			p.kill()
		} else {
			p.stop(t)
		}
		conns.exchange(t) // with nobody there
		w.solicit(t)
	}
	killed := w.next()
	killed.Silent = true
	killed.run(t).kill() // one that never came in force
	p := w.next().run(t)
	early := w.next()
	early.Silent = true
	second := early.run(t) // beside the one that works
	conns.exchange(t)
	p.stop(t)
	second.stop(t)
	conns.exchange(t)
	stop()
	w.checkFlows(t, false)
	if n := programs(t, w.ns); n != 1 {
		t.Errorf("%d programs on the external interface", n)
	}
}

// load sends until the returned function is called, which reports.
func (w *lives) load(t *testing.T) (stop func()) {
	end, done := make(chan struct{}), make(chan struct{})
	var sent int
	var took time.Duration
	go func() {
		defer close(done)
		var err error
		if sent, took, err = w.sender.run(loadRate/2, end); err != nil {
			t.Errorf("send: %v", err)
		}
	}()
	return func() {
		t.Helper()
		close(end)
		<-done
		lost := w.settle(sent)
		t.Logf("%d of %d packets lost, at %.0f packets per second", lost, sent, float64(sent)/took.Seconds())
		if lost != 0 {
			t.Errorf("%d packets lost", lost)
		}
	}
}

// solicit asks for the VIPs' link-layer addresses, by multicast for IPv6.
func (w *lives) solicit(t *testing.T) {
	t.Helper()
	if !testutil.Link(t, w.ns, "ext").AllMulticast {
		t.Error("the external interface does not receive all multicast")
	}
	h := testutil.Handle(t, w.client)
	ext := testutil.Link(t, w.client, "ext")
	for _, vip := range vips[2:] { // on the link
		_ = h.DeleteNeighbour(ext.Index, vip)
		at := strings.Replace("["+vip.String()+"]:7", "[192.0.2.100]", "192.0.2.100", 1)
		if answer, err := testutil.Exchange(w.client, "tcp", "", at, "who has it?"); err != nil || answer != "who has it?" {
			t.Errorf("%s: %q, %v", vip, answer, err)
		}
	}
}

// conversations are TCP connections that live on.
type conversations []net.Conn

// connect opens some to the echo servers.
func (w *lives) connect(t *testing.T) (list conversations) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), stackLimit)
	defer cancel()
	for i := range 12 {
		conn, err := testutil.Dial(ctx, w.client, "tcp", "", netip.AddrPortFrom(vips[i%2], 7).String())
		check(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		list = append(list, conn)
	}
	return list
}

// exchange has all of them answer.
func (c conversations) exchange(t *testing.T) {
	t.Helper()
	for _, conn := range c {
		text := []byte("still there?")
		check(t, conn.SetDeadline(time.Now().Add(stackLimit)))
		_, err := conn.Write(text)
		check(t, err)
		if _, err := io.ReadFull(conn, text); err != nil {
			t.Fatalf("%s: %v", conn.RemoteAddr(), err)
		}
	}
}

// TestKilledAtEveryStep ends a process after each step, first of the ones that
// find nothing, then of the ones that take over: packets pass, and the next
// process works.
func TestKilledAtEveryStep(t *testing.T) {
	steps := []string{"record", "ingress", "new", "fill", "affinity", "legs", "start"}
	for _, fresh := range []bool{true, false} {
		for _, step := range steps {
			if fresh && (step == "affinity" || step == "legs") {
				continue
			}
			t.Run(fmt.Sprintf("%s/first=%t", step, fresh), func(t *testing.T) {
				w := newLives(t)
				for _, ns := range w.targets {
					testutil.Echo(t, ns, "[::]:7")
				}
				if fresh {
					check(t, w.lb.Close())
					nothingLeft(t, w.ns, w.pins)
				} else {
					check(t, w.lb.Abandon())
				}
				killed := w.next()
				killed.KillAt = step
				killed.run(t)
				if !fresh || step == "start" {
					w.connect(t).exchange(t)
				}
				p := w.next().run(t)
				w.connect(t).exchange(t)
				if n := programs(t, w.ns); n != 1 {
					t.Errorf("%d programs on the external interface", n)
				}
				p.stop(t)
				w.connect(t).exchange(t)
			})
		}
	}
}

// TestKilledWhileClosing: whatever is left of one that was to leave nothing, the
// next one works, and leaves nothing.
func TestKilledWhileClosing(t *testing.T) {
	for _, step := range []string{"discard ingress", "discard egress", "discard xdp", "discard legs"} {
		t.Run(step, func(t *testing.T) {
			w := newLives(t)
			for _, ns := range w.targets {
				testutil.Echo(t, ns, "[::]:7")
			}
			check(t, w.lb.Abandon())
			killed := w.next()
			killed.KillAt, killed.Close = step, true
			killed.run(t)
			next := w.next()
			next.run(t)
			w.connect(t).exchange(t)
		})
	}
}

// TestCloseAfterSuccession: one that another has taken over from harms it not.
func TestCloseAfterSuccession(t *testing.T) {
	w := newLives(t)
	for _, ns := range w.targets {
		testutil.Echo(t, ns, "[::]:7")
	}
	p := w.next().run(t)
	check(t, w.lb.Close())
	w.connect(t).exchange(t)
	p.kill()
	w.connect(t).exchange(t)
}

// TestInterfaceGone: what belonged to another interface is discarded.
func TestInterfaceGone(t *testing.T) {
	pins := filepath.Join(pinsOf(t), "lb-1")
	ns := external(t)
	first, err := New(Config{NetNS: ns, Interface: "ext", PinDir: pins})
	check(t, err)
	check(t, first.Abandon())
	check(t, testutil.Handle(t, ns).DeleteLink(testutil.Link(t, ns, "ext").Index))

	other := external(t)
	second, err := New(Config{NetNS: other, Interface: "ext", PinDir: pins})
	check(t, err)
	if _, works, err := second.Predecessor(); works || err != nil {
		t.Errorf("a predecessor on another interface: %v", err)
	}
	check(t, second.Abandon())

	// The interface is there, but not wanted any more.
	third, err := New(Config{NetNS: other, Interface: "ext", VLAN: 5, PinDir: pins})
	check(t, err)
	if _, works, err := third.Predecessor(); works || err != nil {
		t.Errorf("a predecessor of another VLAN: %v", err)
	}
	if n := programs(t, other); n != 1 {
		t.Errorf("%d programs on the interface", n)
	}
	check(t, third.Abandon())
	check(t, Discard(pins))
	check(t, Discard(pins))
	nothingLeft(t, other, pins)
}

// TestPinErrors: what cannot be is refused, and changes nothing.
func TestPinErrors(t *testing.T) {
	ns := external(t)
	for want, dir := range map[string]string{
		`PinDir "here": not an absolute path`: "here",
		"not in a BPF file system":            filepath.Join(t.TempDir(), "lb-1"),
	} {
		if _, err := New(Config{NetNS: ns, Interface: "ext", PinDir: dir}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	pins := filepath.Join(pinsOf(t), "lb-1")
	first, err := New(Config{NetNS: ns, Interface: "ext", PinDir: pins})
	check(t, err)
	check(t, first.Abandon())
	// The driver's XDP is refused while the interface takes VLAN tags off.
	if _, err := New(Config{NetNS: ns, Interface: "ext", PinDir: pins, Mode: ModeXDP, MaxTargets: 1 << 16, MaxTableSize: MaxTableSize, MaxStreams: 1}); err == nil {
		t.Fatal("XDP is taken")
	}
	if n := programs(t, ns); n != 1 {
		t.Errorf("after a failed start there are %d programs", n)
	}
	check(t, Discard(pins))
	nothingLeft(t, ns, pins)
}

// TestCloseBehind: one that never took over ends the predecessor with it.
func TestCloseBehind(t *testing.T) {
	pins := filepath.Join(pinsOf(t), "lb-1")
	ns := external(t)
	check(t, testutil.Handle(t, ns).SetAllMulticast(testutil.Link(t, ns, "ext").Index, true)) // an administrator's
	first, err := New(Config{NetNS: ns, Interface: "ext", PinDir: pins})
	check(t, err)
	check(t, first.Abandon())
	check(t, first.Close())
	second, err := New(Config{NetNS: ns, Interface: "ext", PinDir: pins})
	check(t, err)
	if _, works, err := second.Predecessor(); !works || err != nil {
		t.Errorf("no predecessor: %v", err)
	}
	check(t, second.Close())
	ext := testutil.Link(t, ns, "ext")
	if !ext.AllMulticast {
		t.Error("the administrator's setting is gone")
	}
	check(t, testutil.Handle(t, ns).SetAllMulticast(ext.Index, false))
	nothingLeft(t, ns, pins)
}
