// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// freePort returns a port that was free a moment ago on TCP and UDP.
func freePort(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

func serve(t *testing.T, name string, port uint16) *Server {
	t.Helper()
	s, err := Serve(name, port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func loopback(port uint16) []netip.AddrPort {
	return []netip.AddrPort{
		netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port),
		netip.AddrPortFrom(netip.MustParseAddr("::1"), port),
	}
}

func TestAskManyCountsServersAndSourceAddresses(t *testing.T) {
	port := freePort(t)
	serve(t, "s1", port)
	for _, network := range []string{"tcp", "udp"} {
		got := AskMany(Dial, network, loopback(port), 40, 8, time.Second)
		want := Tally{Asked: 40, Answered: 40, ByServer: map[string]int{"s1": 40}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", network, diff)
		}
	}
}

func TestAskManyReportsSilence(t *testing.T) {
	port := freePort(t)
	for _, network := range []string{"tcp", "udp"} {
		got := AskMany(Dial, network, loopback(port), 2, 2, 200*time.Millisecond)
		if got.Answered != 0 || got.FirstError == nil {
			t.Errorf("%s to a closed port: answered %d, error %v", network, got.Answered, got.FirstError)
		}
	}
}

func TestSteadySeesNoLossThenAllLoss(t *testing.T) {
	port := freePort(t)
	server := serve(t, "s1", port)
	s, err := StartSteady(SteadyConfig{To: loopback(port), Flows: 20, Rate: 2000, Dial: Dial})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	a := s.Mark()
	waitSent(t, s, a, 500)
	w := s.Between(a, s.Mark())
	if w.Lost != 0 || w.MovedFlows != 0 || w.ByServer["s1"] != w.Sent {
		t.Errorf("healthy server: %+v", w)
	}
	server.Close()
	b := s.Mark()
	waitSent(t, s, b, 200)
	if w := s.Between(b, s.Mark()); w.Lost != w.Sent || w.LostUnmoved != w.Lost || w.LastLost.IsZero() {
		t.Errorf("dead server: %+v", w)
	}
}

func waitSent(t *testing.T, s *Steady, from Mark, n int) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); <-tick.C {
		sent := 0
		for i, seq := range s.Mark().seq {
			sent += seq - from.seq[i]
		}
		if sent >= n {
			return
		}
	}
	t.Fatalf("fewer than %d requests sent in 10 s", n)
}

func TestWindowTellsMovedFromBroken(t *testing.T) {
	flow := func(servers ...uint16) (sent []request) {
		for i, s := range servers {
			sent = append(sent, request{at: int64(i) * 1000, server: s, heard: int64(i)*1000 + 10})
		}
		return sent
	}
	const a, b = 1, 2
	for _, tt := range []struct {
		name                     string
		sent                     []request
		from                     int
		moved, lost, lostUnmoved int
		gap                      time.Duration
	}{
		{"stays", flow(a, a, a), 1, 0, 0, 0, 0},
		{"moves without loss", flow(a, a, b), 1, 1, 0, 0, 0},
		{"moves with loss", flow(a, 0, b), 1, 1, 1, 0, 1000},
		{"moved exactly at the mark", flow(a, b, b), 1, 1, 0, 0, 0},
		{"loses and stays", flow(a, 0, a), 1, 0, 1, 1, 1000},
		{"never answered", flow(a, 0, 0), 1, 0, 2, 2, 2000},
		{"two gaps", flow(a, 0, 0, a, 0, a), 1, 0, 3, 3, 2000},
		{"moves and returns", flow(a, b, a), 1, 1, 0, 0, 0},
		{"lost before the window does not count", flow(0, a, a), 1, 0, 0, 0, 0},
	} {
		w := Window{First: map[string]time.Time{}, ByServer: map[string]int{}}
		start := time.Unix(100, 0)
		count := counter{Window: &w, start: start, end: start.Add(time.Duration(1000 * len(tt.sent))), servers: []string{"", "a", "b"}}
		count.flow(tt.sent, tt.from, len(tt.sent), 0)
		if w.MovedFlows != tt.moved || w.Lost != tt.lost || w.LostUnmoved != tt.lostUnmoved || w.LongestGap != tt.gap {
			t.Errorf("%s: moved %d lost %d unmoved %d gap %s, want %d %d %d %s", tt.name,
				w.MovedFlows, w.Lost, w.LostUnmoved, w.LongestGap, tt.moved, tt.lost, tt.lostUnmoved, tt.gap)
		}
		if twice := w.MovedTwice == 1; twice != (tt.name == "moves and returns") {
			t.Errorf("%s: %d moved twice", tt.name, w.MovedTwice)
		}
	}
}

// A forgotten past tells still where a flow was, and marks stay valid.
func TestForget(t *testing.T) {
	f := &flow{sent: []request{{server: 1}, {server: 0}, {server: 2}, {server: 1}}, newest: -1}
	s := &Steady{flows: []*flow{f}, servers: []string{"", "a", "b"}}
	f.steady = s
	mark := Mark{seq: []int{2}}
	s.Forget(mark)
	w := s.Between(mark, s.Mark())
	if w.Sent != 2 || w.Lost != 0 || w.MovedFlows != 1 || w.MovedTwice != 1 || f.before != 1 {
		t.Errorf("%+v, before %d", w, f.before)
	}
	s.Forget(mark) // twice is once
	if now := s.Mark(); now.Sent() != 4 {
		t.Errorf("%d sent", now.Sent())
	}
}

func TestAnswersTwiceAndOutOfOrder(t *testing.T) {
	f := &flow{sent: make([]request, 4), newest: -1}
	s := &Steady{flows: []*flow{f}, servers: []string{""}}
	f.steady = s
	for _, seq := range []int{0, 2, 1, 1, 3, 3, 3, 9} {
		f.heard(seq, "a")
	}
	w := s.Between(Mark{seq: []int{0}}, s.Mark())
	if w.Sent != 4 || w.Lost != 0 || w.Reordered != 1 || w.Duplicated != 3 || w.ByServer["a"] != 4 {
		t.Errorf("%+v", w)
	}
}

func TestPoolNoticesBreaks(t *testing.T) {
	port := freePort(t)
	first := serve(t, "s1", port)
	p, err := StartPool(Dial, loopback(port), 6)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	if s := p.Stats(); s.Open != 6 || s.Broken != 0 {
		t.Fatalf("fresh pool: %+v", s)
	}
	first.Close()
	serve(t, "s2", port) // as if the tables had moved every flow to s2
	waitPool(t, p, func(s PoolStats) bool { return s.Open == 6 && s.Broken == 6 && s.BrokenMoved == 6 })
}

func TestPoolTellsBreaksWithoutMove(t *testing.T) {
	port := freePort(t)
	first := serve(t, "s1", port)
	p, err := StartPool(Dial, loopback(port), 4)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	first.Close()
	serve(t, "s1", port)
	waitPool(t, p, func(s PoolStats) bool { return s.Open == 4 && s.BrokenUnmoved() == 4 })
}

func waitPool(t *testing.T, p *Pool, ok func(PoolStats) bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); <-tick.C {
		if ok(p.Stats()) {
			return
		}
	}
	t.Fatalf("pool: %+v", p.Stats())
}
