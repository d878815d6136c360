// SPDX-License-Identifier: Apache-2.0

package bgp_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/bgp"
	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/testutil/router"
)

// A gateway that is killed keeps its routes with us until its restart time ends,
// and is back soon after it starts.
func TestGatewayKilled(t *testing.T) {
	for _, kind := range []string{"BIRD", "FRR"} {
		t.Run(kind, func(t *testing.T) {
			testutil.CheckLeaks(t)
			ns := wire(t)
			o := plain()
			o.bird = "graceful restart time 4;"
			var kill, again func()
			if kind == "BIRD" {
				bird := router.StartBIRD(t, ns, o.birdConfig())
				kill, again = bird.Kill, func() { bird.Start("-R") }
			} else {
				frr := router.StartFRR(t, ns, strings.Replace(o.frrConfig(), " bgp graceful-restart\n", " bgp graceful-restart\n bgp graceful-restart restart-time 4\n bgp graceful-restart preserve-fw-state\n", 1))
				kill, again = func() { frr.Kill("bgpd") }, frr.Start
			}
			s := start(t, false, bgp.Config{Peers: []bgp.Peer{gateway("g", gateway4)}, Announce: vips, GracefulRestart: 30 * time.Second})
			s.established("g")
			s.until("learned", func() bool { return len(s.Routes()) == 2 })
			kill()
			s.until("the session is down", func() bool { return s.peer("g").State != bgp.Established })
			if status := s.peer("g"); len(s.Routes()) != 2 || status.Stale.IsZero() || status.Flaps != 1 {
				t.Errorf("routes of a gateway that restarts: %v, status %+v", s.Routes(), status)
			}
			begun := time.Now()
			again()
			started := time.Now()
			lost := false
			s.until("established again", func() bool {
				lost = lost || len(s.Routes()) != 2
				return s.peer("g").State == bgp.Established
			})
			t.Logf("established %v after its start began, %v after it answered", time.Since(begun), time.Since(started))
			s.until("nothing is stale", func() bool {
				lost = lost || len(s.Routes()) != 2
				return s.peer("g").Stale.IsZero()
			})
			if lost {
				t.Error("routes were gone while the gateway restarted")
			}
			kill()
			s.until("stale", func() bool { return !s.peer("g").Stale.IsZero() })
			begun = time.Now()
			s.until("flushed", func() bool { return len(s.Routes()) == 0 })
			if passed := time.Since(begun); passed < 3*time.Second || passed > 6*time.Second {
				t.Errorf("stale routes were kept for %v, not 4 s", passed)
			}
		})
	}
}

// We restart: the gateway keeps our routes until our successor has announced them
// again; without a successor, and after Close, they go.
func TestRestart(t *testing.T) {
	for _, kind := range []string{"BIRD", "FRR"} {
		t.Run(kind, func(t *testing.T) {
			testutil.CheckLeaks(t)
			ns := wire(t)
			var count func() int
			if kind == "BIRD" {
				bird := router.StartBIRD(t, ns, plain().birdConfig())
				count = func() int { return len(bird.Routes("protocol p1")) }
			} else {
				frr := router.StartFRR(t, ns, plain().frrConfig())
				count = func() int { return len(frrRoutes(frr)) }
			}
			config := bgp.Config{Peers: []bgp.Peer{gateway("g", gateway4)}, Announce: vips, GracefulRestart: 30 * time.Second}
			s := start(t, false, config)
			s.established("g")
			s.until("announced", func() bool { return count() == 2 })
			if err := s.CloseRestarting(); err != nil {
				t.Fatal(err)
			}
			config.Announce = nil // not decided yet
			s = start(t, true, config)
			lost := false
			for end := time.Now().Add(time.Second); time.Now().Before(end) || s.peer("g").State != bgp.Established; {
				lost = lost || count() != 2
			}
			config.Announce = vips
			s.set(config)
			s.until("announced", func() bool { lost = lost || count() != 2; return len(s.peer("g").Announced) == 2 })
			for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); {
				lost = lost || count() != 2
			}
			if lost {
				t.Error("the gateway lost our routes while we restarted")
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s.until("withdrawn", func() bool { return count() == 0 })
		})
	}
}

// A cut that nobody tells of ends the session by its hold timer.
func TestHoldTimer(t *testing.T) {
	testutil.Require(t, "nft")
	testutil.CheckLeaks(t)
	ns := wire(t)
	router.StartBIRD(t, ns, plain().birdConfig())
	peer := gateway("g", gateway4)
	peer.HoldTime = 3 * time.Second
	s := start(t, false, bgp.Config{Peers: []bgp.Peer{peer}, Announce: vips, GracefulRestart: 30 * time.Second})
	s.established("g")
	s.until("learned", func() bool { return len(s.Routes()) == 2 })
	nft := func(command string) {
		t.Helper()
		if err := netns.Do(ns, func() error {
			out, err := exec.Command("nft", command).CombinedOutput()
			if err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	nft("add table inet cut; add chain inet cut in { type filter hook input priority 0; }; add rule inet cut in tcp dport 179 drop; add rule inet cut in tcp sport 179 drop")
	begun := time.Now()
	s.until("down", func() bool { return s.peer("g").State != bgp.Established })
	if passed := time.Since(begun); passed > 4*time.Second || passed < time.Second {
		t.Errorf("the hold time of 3 s took %v", passed)
	}
	s.lastError("g", "nothing heard from the gateway for the hold time of 3s")
	s.until("routes are gone", func() bool { return len(s.Routes()) == 0 })
	s.lastError("g", "no answer to the TCP connection")
	nft("delete table inet cut")
	s.established("g")
}

// 10,000 prefixes are bounded, reported, and taken when the limit is raised; the
// session stays.
func TestTenThousand(t *testing.T) {
	testutil.CheckLeaks(t)
	ns := wire(t)
	var b strings.Builder
	b.WriteString("protocol static many { ipv4;\n")
	for i := range 10_000 {
		fmt.Fprintf(&b, "route 10.%d.%d.0/24 blackhole;\n", i/256, i%256)
	}
	b.WriteString("}\n")
	bird := router.StartBIRD(t, ns, b.String()+plain().birdConfig())
	peer := gateway("g", gateway4)
	before := rss(t)
	s := start(t, false, bgp.Config{Peers: []bgp.Peer{peer}, Announce: vips})
	begun := time.Now()
	s.until("all received", func() bool { return s.peer("g").Received == 10_002 })
	t.Logf("10,002 prefixes received in %v, resident memory %d KiB, before %d KiB", time.Since(begun), rss(t), before)
	since := bird.Protocol("p1").Since
	if status := s.peer("g"); len(s.Routes()) != 1000 || status.Refused != 9002 || !strings.Contains(status.Refusal, "more than 1000 prefixes") {
		t.Errorf("%d routes, %d refused: %s", len(s.Routes()), status.Refused, status.Refusal)
	}
	s.change(func(p *bgp.Peer) { p.MaxPrefixes = 20_000 })
	if n := len(s.Routes()); n != 10_002 {
		t.Errorf("%d routes after the limit was raised", n)
	}
	if p := bird.Protocol("p1"); p.Info != "Established" || !near(p.Since, since) {
		t.Errorf("the session was reset: %+v", p)
	}
}

func rss(t *testing.T) (kib int) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "VmRSS:")
	_, _ = fmt.Sscan(after, &kib)
	return kib
}

// A port that is taken is named, harms nobody, and is tried again.
func TestPortTaken(t *testing.T) {
	testutil.CheckLeaks(t)
	ns := wire(t)
	router.StartBIRD(t, ns, plain().birdConfig())
	taken, err := net.Listen("tcp4", "0.0.0.0:2179")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	other := gateway("other", gateway6)
	other.LocalPort = 2179
	peer := gateway("g", gateway4)
	third := gateway("third", gateway4)
	third.LocalPort, third.RemotePort = 2179, 9
	s := start(t, false, bgp.Config{Peers: []bgp.Peer{peer, other, third}, Announce: vips})
	s.established("g")
	if got := s.peer("third").ListenError; !strings.Contains(got, "port 2179") || !strings.Contains(got, "in use") {
		t.Errorf("error of a port that is taken: %q", got)
	}
	if got := s.peer("g").ListenError + s.peer("other").ListenError; got != "" {
		t.Errorf("others say %q", got)
	}
	_ = taken.Close()
	s.until("it listens", func() bool { return s.peer("third").ListenError == "" })
}
