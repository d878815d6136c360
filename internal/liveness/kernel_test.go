// SPDX-License-Identifier: Apache-2.0

package liveness_test

import (
	"net/netip"
	"os/exec"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/testutil"
)

// TestNodes takes the underlay's link down and up between two nodes.
func TestNodes(t *testing.T) {
	for family, prefixes := range map[string][2]string{
		"IPv4": ipv4,
		"IPv6": {"2001:db8::1/64", "2001:db8::2/64"},
	} {
		t.Run(family, func(t *testing.T) {
			a, b, underlay := newSides(t, prefixes, 50)
			a.run(t)
			b.run(t)
			a.setAll(true)
			b.setAll(true)
			both := func(up bool) func() bool {
				seenByA, seenByB := a.all(up), b.all(up)
				return func() bool { return seenByA() && seenByB() }
			}
			testutil.Eventually(t, limit, "carrier", both(true))
			a.setAll(false)
			testutil.Eventually(t, limit, "no carrier", b.all(false))
			a.setAll(true)
			testutil.Eventually(t, limit, "carrier again", b.all(true))

			h := testutil.Handle(t, a.NetNS)
			began := time.Now()
			must(t, h.SetDown(underlay.Index))
			testutil.Eventually(t, limit, "death", both(false))
			t.Logf("both have seen the death after %v", time.Since(began))
			began = time.Now()
			must(t, h.SetUp(underlay.Index))
			if family == "IPv6" { // they go with the link
				_ = h.AddAddress(underlay.Index, netip.MustParsePrefix(prefixes[0]))
			}
			testutil.Eventually(t, limit, "return", both(true))
			t.Logf("both have seen the return after %v", time.Since(began))
		})
	}
}

// TestDroppedFrames is loss, and a partition that nobody's link shows.
func TestDroppedFrames(t *testing.T) {
	nft, err := exec.LookPath("nft")
	if err != nil {
		t.Skipf("no nft here: %v", err)
	}
	a, b, _ := newSides(t, ipv4, 20)
	rule := func(drop string) {
		t.Helper()
		for _, s := range []*side{a, b} {
			must(t, netns.Do(s.NetNS, func() error {
				return exec.Command(nft, "flush ruleset\ntable inet weft {\nchain in {\ntype filter hook input priority 0\n"+drop+"\n}\n}").Run()
			}))
		}
	}
	rule("udp dport 4789 numgen random mod 100 < 20 drop")
	a.run(t)
	b.run(t)
	b.setAll(true)
	testutil.Eventually(t, limit, "carrier with loss", a.all(true))
	a.takeCalls()
	time.Sleep(5 * time.Second) // nothing may happen
	if calls := a.takeCalls(); calls > 0 || !a.all(true)() {
		t.Errorf("%d changes by loss", calls)
	}
	b.setAll(false)
	testutil.Eventually(t, limit, "no carrier with loss", a.all(false))
	b.setAll(true)
	testutil.Eventually(t, limit, "carrier again with loss", a.all(true))

	rule("udp dport 4789 drop")
	began := time.Now()
	testutil.Eventually(t, limit, "death", a.all(false))
	t.Logf("death after %v", time.Since(began))
	began = time.Now()
	rule("")
	testutil.Eventually(t, limit, "return", a.all(true))
	t.Logf("return after %v", time.Since(began))
}

// TestLoad keeps all CPUs busy.
func TestLoad(t *testing.T) {
	a, b, _ := newSides(t, ipv4, 20)
	a.run(t)
	b.run(t)
	a.setAll(true)
	b.setAll(true)
	testutil.Eventually(t, limit, "carrier", func() bool { return a.all(true)() && b.all(true)() })
	a.takeCalls()
	b.takeCalls()
	var busy sync.WaitGroup
	stop := time.Now().Add(5 * time.Second)
	for range 8 * runtime.GOMAXPROCS(0) {
		busy.Go(func() {
			for time.Now().Before(stop) {
			}
		})
	}
	busy.Wait()
	if calls := a.takeCalls() + b.takeCalls(); calls > 0 || !a.all(true)() || !b.all(true)() {
		t.Errorf("%d changes by load", calls)
	}
}

// TestStoppedProcess: the kernel answers for a process that does not run, and
// the process believes no death when it runs again.
func TestStoppedProcess(t *testing.T) {
	a, b, _ := newSides(t, ipv4, 20)
	a.run(t)
	a.setAll(true)
	c := start(t, b)
	c.say(t, "up")
	testutil.Eventually(t, limit, "carrier", a.all(true))
	a.takeCalls()
	must(t, c.cmd.Process.Signal(unix.SIGSTOP))
	time.Sleep(3 * time.Second) // nothing may happen
	must(t, c.cmd.Process.Signal(unix.SIGCONT))
	time.Sleep(time.Second)
	if calls := a.takeCalls(); calls > 0 || !a.all(true)() {
		t.Errorf("%d changes while the other process was stopped", calls)
	}
	c.say(t, "down")
	testutil.Eventually(t, limit, "no carrier", a.all(false))
	c.stop(t)
}

// TestKilledProcess: the kernel answers for a process that is no more; the next
// one hears and is believed.
func TestKilledProcess(t *testing.T) {
	a, b, _ := newSides(t, ipv4, 20)
	b.Pins = bpffs(t)
	a.run(t)
	a.setAll(true)
	c := start(t, b)
	c.say(t, "up")
	testutil.Eventually(t, limit, "carrier", a.all(true))
	a.takeCalls()
	c.kill(t)
	time.Sleep(2 * time.Second) // nothing may happen
	c = start(t, b)
	c.say(t, "up")
	if calls := a.takeCalls(); calls > 0 || !a.all(true)() {
		t.Errorf("%d changes by kill and restart of the other process", calls)
	}
	c.say(t, "down")
	testutil.Eventually(t, limit, "no carrier", a.all(false))
	c.stop(t)
	testutil.Eventually(t, limit, "death of a node that has removed all", a.all(false))
}
