// SPDX-License-Identifier: Apache-2.0

package bfdnet

import (
	"fmt"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/bfd"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/testutil/router"
)

// interop is the interval with other routers, which have no priority: they must
// not take us for lost while the machine does other things.
const (
	milliseconds = 100
	interop      = milliseconds * time.Millisecond
)

const birdTimers = "min rx interval %[1]d ms; min tx interval %[1]d ms; multiplier 3;"

// birdConfig has sessions with all our addresses on wire0; the middle is put into
// the options of both kinds.
func birdConfig(interval int, middle string) string {
	timers := fmt.Sprintf(birdTimers, interval) + middle
	return fmt.Sprintf(`
router id 192.0.2.2;
protocol device { }
protocol bfd b1 {
	interface "*" { %[1]s };
	multihop { %[1]s };
	neighbor 192.0.2.1 dev "wire0";
	neighbor 2001:db8:2::1 dev "wire0";
	neighbor fe80::2:1 dev "wire0" local fe80::2:2;
	neighbor 192.0.3.1 local 192.0.3.2 multihop;
	neighbor 2001:db8:3::1 local 2001:db8:3::2 multihop;
}
`, timers)
}

func frrConfig(interval int) string {
	timers := fmt.Sprintf("\n  receive-interval %[1]d\n  transmit-interval %[1]d\n exit\n", interval)
	return "bfd\n" +
		" peer 192.0.2.1 interface wire0" + timers +
		" peer 2001:db8:2::1 local-address 2001:db8:2::2 interface wire0" + timers +
		" peer fe80::2:1 local-address fe80::2:2 interface wire0" + timers +
		" peer 192.0.3.1 multihop local-address 192.0.3.2" + timers +
		" peer 2001:db8:3::1 multihop local-address 2001:db8:3::2" + timers + "exit\n"
}

// sessions is one of each kind, over links 0 and 1.
func sessions() []Session {
	all := []Session{
		single("v4", "192.0.2.2", "wire0"), single("v6", "2001:db8:2::2", "wire0"), single("ll", "fe80::2:2", "wire0"),
		multihop("m4", "192.0.3.1", "192.0.3.2"), multihop("m6", "2001:db8:3::1", "2001:db8:3::2"),
	}
	for i := range all {
		all[i].MinTx, all[i].MinRx = interop, interop
	}
	return all
}

var names = []string{"v4", "v6", "ll", "m4", "m6"}

func TestBIRD(t *testing.T) {
	testutil.Require(t, "netns", "bird")
	testutil.CheckLeaks(t)
	w := newWire(t, 2)
	bird := router.StartBIRD(t, w.theirs, birdConfig(milliseconds, ""))
	s := newSpeaker(t, w.ours)
	s.set(sessions()...)
	s.waitUp(names...)
	peers := func(interval time.Duration) func() bool {
		return func() bool {
			up := 0
			for _, b := range bird.BFD() {
				if b.State == "Up" && b.Timeout == 3*interval {
					up++
				}
			}
			return up == len(names)
		}
	}
	testutil.Eventually(t, upLimit, "BIRD has all sessions up", peers(interop))

	changeTimers(t, s, func(interval int) { bird.Configure(birdConfig(interval, "")) }, peers, func() string {
		return fmt.Sprint(bird.BFD())
	})
	cut(t, w, s)
}

func TestFRR(t *testing.T) {
	testutil.Require(t, "netns", "frr")
	testutil.CheckLeaks(t)
	w := newWire(t, 2)
	frr := router.StartFRR(t, w.theirs, frrConfig(milliseconds))
	s := newSpeaker(t, w.ours)
	s.set(sessions()...)
	s.waitUp(names...)
	peers := func(interval time.Duration) func() bool {
		return func() bool {
			up := 0
			for _, p := range frr.BFD() {
				if p.Status == "up" && p.RemoteTransmit == int(interval/time.Millisecond) && p.Downs == 0 {
					up++
				}
			}
			return up == len(names)
		}
	}
	if !eventually(upLimit, peers(interop)) {
		for _, name := range names {
			t.Log(name, s.history(name))
		}
		t.Fatalf("FRR does not have all sessions up: %+v", frr.BFD())
	}
	changeTimers(t, s, func(interval int) {
		commands := []string{"bfd"}
		for _, peer := range []string{
			"peer 192.0.2.1 interface wire0", "peer 2001:db8:2::1 local-address 2001:db8:2::2 interface wire0",
			"peer fe80::2:1 local-address fe80::2:2 interface wire0",
			"peer 192.0.3.1 multihop local-address 192.0.3.2", "peer 2001:db8:3::1 multihop local-address 2001:db8:3::2",
		} {
			commands = append(commands, peer, fmt.Sprintf("receive-interval %d", interval), fmt.Sprintf("transmit-interval %d", interval), "exit")
		}
		frr.Apply(commands...)
	}, peers, func() string { return fmt.Sprint(frr.BFD()) })
	cut(t, w, s)
}

// changeTimers changes the intervals on each side and back; nothing flaps.
func changeTimers(t *testing.T, s *speaker, configure func(milliseconds int), peers func(time.Duration) func() bool, tell func() string) {
	t.Helper()
	since := map[string]time.Time{}
	for _, name := range names {
		since[name] = s.status(name).Since
	}
	for _, interval := range []time.Duration{3 * interop, interop} {
		changed := sessions()
		for i := range changed {
			changed[i].MinTx, changed[i].MinRx = interval, interval
		}
		s.set(changed...)
		configure(int(interval / time.Millisecond))
		if !eventually(upLimit, peers(interval)) {
			t.Fatalf("the neighbour does not see our interval of %v: %s", interval, tell())
		}
		for _, name := range names {
			if !eventually(upLimit, func() bool {
				return s.status(name).DetectionTime == 3*interval && s.status(name).TxInterval == interval
			}) {
				t.Fatalf("session %s does not go by the neighbour's interval of %v: %+v", name, interval, s.status(name))
			}
		}
	}
	for _, name := range names {
		if now := s.status(name); !now.Since.Equal(since[name]) || now.Flaps != 0 {
			t.Errorf("session %s flapped as timers changed: %+v; %s", name, now, s.history(name))
		}
	}
}

// cut cuts the link of the first sessions: they are down in the negotiated time,
// and the others stay.
func cut(t *testing.T, w wire, s *speaker) {
	t.Helper()
	at := time.Now()
	w.setLink(t, false)
	for _, name := range names[:3] {
		testutil.Eventually(t, upLimit, name+" is down", func() bool { _, down := s.downAt(name); return down })
		down, _ := s.downAt(name)
		t.Logf("%s: down %v after the cut, detection time %v", name, down.Sub(at), 3*interop)
		// The last packet may have come up to an interval before the cut.
		if took := down.Sub(at); took < 3*interop/2 || took > 3*interop+time.Second {
			t.Errorf("%s: down %v after the cut, with a detection time of %v", name, took, 3*interop)
		}
		if status := s.status(name); status.Diag != bfd.DetectionTimeExpired || status.Flaps != 1 {
			t.Errorf("%s: %+v", name, status)
		}
	}
	for _, name := range names[3:] {
		if status := s.status(name); status.State != bfd.Up || status.Flaps != 0 {
			t.Errorf("%s was not cut: %+v", name, status)
		}
	}
}
