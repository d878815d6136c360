// SPDX-License-Identifier: Apache-2.0

package liveness

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/liveness/frame"
	"github.com/weft-project/weft/internal/stitch"
)

func TestOptionsAreChecked(t *testing.T) {
	plane := newNetwork(0).add("192.0.2.1")
	for _, c := range []struct {
		opts Options
		want string
	}{
		{Options{}, "Plane"},
		{Options{Plane: plane, Interval: time.Millisecond}, "Interval 1ms is below 10ms"},
		{Options{Plane: plane, Multiplier: -1}, "Multiplier -1 is below 1"},
	} {
		if _, err := New(c.opts); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: got %v, want %q in it", c.opts, err, c.want)
		}
	}
}

func TestCarrierTravels(t *testing.T) {
	simulate(t, func(t *testing.T, _ *network, a, b *node) {
		ta := a.join(b, 5)
		a.process.SetCarrier(ta, true)
		if up, known := a.process.Carrier(ta); up || known {
			t.Errorf("before anything was heard: up %v, known %v", up, known)
		}
		tb := b.join(a, 5)
		within(t, 20*time.Millisecond, "a is up", b.sees(tb, true, true))
		if up, known := a.process.Carrier(ta); up || known {
			t.Errorf("before the other side has said anything: up %v, known %v", up, known)
		}
		for _, up := range []bool{true, false, true} {
			b.process.SetCarrier(tb, up)
			within(t, 5*time.Millisecond, "change of carrier", a.sees(ta, up, true))
		}
		if calls := a.takeCalls()[5]; calls != 3 {
			t.Errorf("Changed was called %d times for 3 changes", calls)
		}
		if a.process.Leave(ta); a.process.tunnels[ta.Key()] != nil {
			t.Error("left, but still there")
		}
		within(t, 5*time.Millisecond, "the end that was left", b.sees(tb, false, true))
	})
}

func TestTunnelWithoutSignals(t *testing.T) {
	simulate(t, func(t *testing.T, n *network, a, b *node) {
		tunnel := a.tunnelTo(b, 5)
		tunnel.Signals = false
		a.process.Join(tunnel)
		a.process.SetCarrier(tunnel, true)
		time.Sleep(time.Minute)
		if !a.sees(tunnel, true, true)() {
			t.Error("has no carrier")
		}
		if probes, states := n.count(frame.Probe), n.count(frame.State); probes+states > 0 {
			t.Errorf("%d probes and %d states were sent", probes, states)
		}
		tunnel.Signals = true // the other side was upgraded
		a.process.Join(tunnel)
		tb := b.join(a, 5)
		within(t, 2*time.Second, "carrier after the upgrade", b.sees(tb, true, true))
	})
}

// TestDeathAndReturn measures both, with the partition at any time of the
// interval.
func TestDeathAndReturn(t *testing.T) {
	simulate(t, func(t *testing.T, n *network, a, b *node) {
		const tunnels = 500
		joined := map[uint32]stitch.Tunnel{}
		for vni := range uint32(tunnels) {
			joined[vni], _ = pair(t, a, b, vni)
		}
		all := func(up bool) func() bool {
			return func() bool {
				for _, tunnel := range joined {
					if !a.sees(tunnel, up, true)() {
						return false
					}
				}
				return true
			}
		}
		once := func(what string) {
			t.Helper()
			synctest.Wait()
			calls := a.takeCalls()
			if counts := slices.Collect(maps.Values(calls)); len(calls) != tunnels || slices.Max(counts) != 1 {
				t.Errorf("%s: Changed was called for %d of %d tunnels, up to %d times", what, len(calls), tunnels, slices.Max(counts))
			}
		}
		synctest.Wait()
		a.takeCalls()
		var death, back time.Duration
		for offset := range 40 {
			time.Sleep(5*time.Second + time.Duration(offset)*5*time.Millisecond)
			n.partition(a, b, true)
			death = max(death, within(t, 900*time.Millisecond, "death", all(false)))
			once("death")
			time.Sleep(time.Duration(offset) * 7 * time.Millisecond)
			n.partition(a, b, false)
			back = max(back, within(t, time.Second, "return", all(true)))
			once("return")
		}
		t.Logf("death within %v, return of %d tunnels within %v", death, tunnels, back)
		if death > 4*DefaultInterval+10*time.Millisecond {
			t.Errorf("death took up to %v", death)
		}
		// All states and acks of both sides pass the pace.
		if limit := DefaultInterval + 4*tunnels*pacePeriod/paceBurst; back > limit {
			t.Errorf("return took up to %v, more than %v", back, limit)
		}
	})
}

func TestReturnOfOneTunnelWithinAnInterval(t *testing.T) {
	simulate(t, func(t *testing.T, n *network, a, b *node) {
		ta, _ := pair(t, a, b, 5)
		for offset := range 100 {
			n.partition(a, b, true)
			within(t, time.Second, "death", a.sees(ta, false, true))
			time.Sleep(3*time.Second + time.Duration(offset)*3*time.Millisecond)
			n.partition(a, b, false)
			within(t, DefaultInterval, "return", a.sees(ta, true, true))
			time.Sleep(time.Second)
		}
	})
}

// TestOneDirectionIsNotEnough cuts only one: both sides see the death.
func TestOneDirectionIsNotEnough(t *testing.T) {
	simulate(t, func(t *testing.T, n *network, a, b *node) {
		ta, tb := pair(t, a, b, 5)
		n.mu.Lock()
		n.cut[[2]netip.Addr{a.address, b.address}] = true
		n.mu.Unlock()
		within(t, time.Second, "death", func() bool { return a.sees(ta, false, true)() && b.sees(tb, false, true)() })
	})
}

// TestNeverHeard is a restart while the other node is dead.
func TestNeverHeard(t *testing.T) {
	simulate(t, func(t *testing.T, _ *network, a, b *node) {
		b.power(false)
		ta := a.join(b, 5)
		within(t, time.Second, "death of a node that was never heard", a.sees(ta, false, true))
		if up, known := a.process.Carrier(a.join(b, 6)); up || !known {
			t.Errorf("a further tunnel to the dead node: up %v, known %v", up, known)
		}
	})
}

func TestSendErrors(t *testing.T) {
	simulate(t, func(t *testing.T, _ *network, a, b *node) {
		ta, _ := pair(t, a, b, 5)
		a.refuseSends(unix.ENOBUFS)
		time.Sleep(10 * time.Second)
		if !a.sees(ta, true, true)() {
			t.Error("want of buffers looks like death")
		}
		a.refuseSends(0)
		time.Sleep(time.Second)
		a.refuseSends(unix.ENETUNREACH)
		within(t, time.Second, "death when the link is down", a.sees(ta, false, true))
		a.refuseSends(0)
		within(t, DefaultInterval, "return", a.sees(ta, true, true))
	})
}

// TestProcessIsDead: the kernel alone keeps the node alive.
func TestProcessIsDead(t *testing.T) {
	simulate(t, func(t *testing.T, n *network, a, b *node) {
		ta, tb := pair(t, a, b, 5)
		b.kill(t)
		a.takeCalls()
		time.Sleep(time.Minute)
		a.process.SetCarrier(ta, false)
		before := n.count(frame.State)
		time.Sleep(time.Minute)
		if sent := n.count(frame.State) - before; sent < 60 || sent > 70 {
			t.Errorf("the state was sent %d times in a minute without process at the other side", sent)
		}
		b.start(t)
		b.join(a, 5)
		within(t, 50*time.Millisecond, "a later process hears of a change", b.sees(tb, false, true))
		b.process.SetCarrier(tb, true)
		time.Sleep(time.Minute)
		if calls := a.takeCalls(); len(calls) != 0 || !a.sees(ta, true, true)() {
			t.Errorf("the restart of the other side was seen: %v", calls)
		}
		b.process.SetCarrier(tb, false)
		within(t, 10*time.Millisecond, "the later process is believed", a.sees(ta, false, true))
	})
}

func TestReboot(t *testing.T) {
	simulate(t, func(t *testing.T, _ *network, a, b *node) {
		ta, tb := pair(t, a, b, 5)
		for range 20 {
			b.power(false)
			within(t, time.Second, "death", a.sees(ta, false, true))
			b.reboot(t)
			b.power(true)
			b.start(t)
			b.join(a, 6) // another one
			time.Sleep(5 * time.Second)
			if !a.sees(ta, false, true)() {
				t.Fatal("a tunnel that the other node does not know any more has carrier")
			}
			b.join(a, 5)
			b.process.SetCarrier(tb, true)
			within(t, 2*lastRetry, "return", func() bool { return a.sees(ta, true, true)() })
		}
	})
}

// TestMostlySilent checks what a quiet node costs.
func TestMostlySilent(t *testing.T) {
	simulate(t, func(t *testing.T, n *network, a, b *node) {
		for vni := range uint32(1000) {
			pair(t, a, b, vni)
		}
		time.Sleep(5 * time.Second)
		probes, states := n.count(frame.Probe), n.count(frame.State)
		time.Sleep(10 * time.Second)
		if probes = n.count(frame.Probe) - probes; probes < 98 || probes > 102 {
			t.Errorf("%d probes in 10 s in both directions, not 100", probes)
		}
		if states = n.count(frame.State) - states; states > 0 {
			t.Errorf("%d states without any change", states)
		}
	})
}

// TestPace: a flood of changes is sent at the bounded rate and arrives as a whole.
func TestPace(t *testing.T) {
	simulate(t, func(t *testing.T, n *network, a, b *node) {
		const tunnels = 2000
		var near, far []stitch.Tunnel
		for vni := range uint32(tunnels) {
			ta, tb := pair(t, a, b, vni)
			near, far = append(near, ta), append(far, tb)
		}
		time.Sleep(5 * time.Second)
		n.impair(0.2, 0.1, 5*time.Millisecond)
		before := n.count(frame.State)
		for _, tunnel := range near {
			a.process.SetCarrier(tunnel, false)
		}
		time.Sleep(100 * time.Millisecond)
		if sent := n.count(frame.State) - before; sent > 11*paceBurst {
			t.Errorf("%d states in 100 ms", sent)
		}
		took := within(t, 5*time.Second, "all changes", func() bool {
			return !slices.ContainsFunc(far, func(tunnel stitch.Tunnel) bool { return !b.sees(tunnel, false, true)() })
		})
		t.Logf("%d changes have arrived after %v with 20 %% loss", tunnels, took+100*time.Millisecond)
	})
}

func TestLeaveAndPrune(t *testing.T) {
	simulate(t, func(t *testing.T, _ *network, a, b *node) {
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Error(err)
			}
		}
		pair(t, a, b, 5)
		must(a.SetPeer(device, netip.MustParseAddr("192.0.2.9"))) // of an earlier process
		must(a.process.Prune())
		if peers, _ := a.Peers(); len(peers) != 1 || peers[0].Remote != b.address {
			t.Errorf("after Prune the kernel knows %v", peers)
		}
		a.leave(b, 5)
		time.Sleep(linger / 2)
		if peers, _ := a.Peers(); len(peers) != 1 {
			t.Error("the node was forgotten at once")
		}
		time.Sleep(linger)
		if peers, _ := a.Peers(); len(peers) != 0 {
			t.Errorf("after the last tunnel was left the kernel knows %v", peers)
		}
	})
}

// TestKernelForgets is a map whose entry was removed by hand.
func TestKernelForgets(t *testing.T) {
	simulate(t, func(t *testing.T, _ *network, a, b *node) {
		ta, tb := pair(t, a, b, 5)
		if err := a.DeletePeer(device, b.address); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if !a.sees(ta, true, true)() || !b.sees(tb, true, true)() {
			t.Error("the entry did not come back in time")
		}
	})
}

// TestLoss: 20 % of the frames in each direction, and reordering, are no death.
func TestLoss(t *testing.T) {
	simulate(t, func(t *testing.T, n *network, a, b *node) {
		ta, _ := pair(t, a, b, 5)
		n.impair(0.2, 0.2, 30*time.Millisecond)
		a.takeCalls()
		time.Sleep(2 * time.Hour)
		if calls := a.takeCalls(); len(calls) > 0 || !a.sees(ta, true, true)() {
			t.Errorf("loss looks like death: %v", calls)
		}
		n.partition(a, b, true)
		within(t, time.Second+DefaultInterval, "death after loss", a.sees(ta, false, true))
	})
}
