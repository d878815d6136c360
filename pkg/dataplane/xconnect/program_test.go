// SPDX-License-Identifier: Apache-2.0

package xconnect

import (
	"bytes"
	"net"
	"testing"

	"github.com/weft-project/weft/internal/testutil"
)

const (
	client   = 10
	endpoint = 20
)

func TestVerdicts(t *testing.T) {
	testutil.Require(t, "bpf")
	broadcast := net.HardwareAddr{255, 255, 255, 255, 255, 255}
	multicast := net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}
	others := net.HardwareAddr{2, 9, 9, 9, 9, 9}
	for _, c := range []struct {
		name    string
		legs    []Leg
		ifindex int
		dst     net.HardwareAddr
		action  uint32
		reason  Reason
		to      []int // any of them
		rewrite bool
	}{
		{"unknown port", nil, 99, DefaultGateway, actShot, NoPort, []int{0}, false},
		{"endpoint to its client, any MAC", nil, endpoint, others, actRedirect, ToClient, []int{client}, false},
		{"endpoint to its client, group", nil, endpoint, broadcast, actRedirect, ToClient, []int{client}, false},
		{"no leg", nil, client, DefaultGateway, actShot, NoLeg, []int{0}, false},
		{"only leg, gateway MAC", legs(1, 0), client, DefaultGateway, actRedirect, OnlyLeg, []int{100}, false},
		{"only leg, any MAC", legs(1, 0), client, others, actRedirect, OnlyLeg, []int{100}, false},
		{"only leg, group", legs(1, 1), client, multicast, actRedirect, OnlyLeg, []int{100}, false},
		{"anycast", legs(2, 0), client, DefaultGateway, actRedirect, Anycast, []int{100, 101}, true},
		{"anycast, all local", legs(2, 2), client, DefaultGateway, actRedirect, Anycast, []int{100, 101}, true},
		{"anycast prefers local", legs(3, 1), client, DefaultGateway, actRedirect, Anycast, []int{100}, true},
		{"leg's own MAC", legs(3, 1), client, mac(2), actRedirect, LegMAC, []int{102}, false},
		{"leg's own MAC, last of 64", legs(64, 0), client, mac(63), actRedirect, LegMAC, []int{163}, false},
		{"group", legs(2, 0), client, multicast, actRedirect, Group, []int{100, 101}, false},
		{"group prefers local", legs(2, 1), client, broadcast, actRedirect, Group, []int{100}, false},
		{"nobody's MAC", legs(2, 0), client, others, actShot, UnknownMAC, []int{0}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := open(t, Config{})
			must(t, x.SetClient(client, c.legs), x.SetEndpoint(endpoint, client, 7))
			sent := frame(c.dst, 1)
			got := run(t, x, c.ifindex, sent)
			if got.Action != c.action || got.Reason != c.reason || !contains(c.to, got.IfIndex) {
				t.Errorf("got %v, want action %d, %v, to one of %v", got, c.action, c.reason, c.to)
			}
			if c.rewrite {
				copy(sent, mac(byte(got.IfIndex-100)))
			}
			if !bytes.Equal(got.Frame, sent) {
				t.Errorf("frame %x, want %x", got.Frame, sent)
			}
			if marked := got.Mark == 7; marked != (c.reason == ToClient) {
				t.Errorf("mark %d on %v", got.Mark, got.Reason)
			}
			counters, err := x.Counters()
			must(t, err)
			for reason, n := range counters {
				if want := reason == c.reason; n > 1 || (n == 1) != want {
					t.Errorf("counter %v = %d", reason, n)
				}
			}
		})
	}
}

func contains(set []int, v int) bool {
	for _, s := range set {
		if s == v {
			return true
		}
	}
	return false
}

func TestSetClientReplaces(t *testing.T) {
	x := open(t, Config{})
	for _, set := range [][]Leg{legs(1, 0), legs(3, 1), legs(1, 0), nil, legs(2, 2)} {
		must(t, x.SetClient(client, set), x.SetClient(client, set))
		want := Anycast
		switch len(set) {
		case 0:
			want = NoLeg
		case 1:
			want = OnlyLeg
		}
		if got := run(t, x, client, frame(DefaultGateway, 1)); got.Reason != want {
			t.Errorf("%d legs: %v, want %v", len(set), got, want)
		}
	}
	must(t, x.Delete(client), x.Delete(client))
	if got := run(t, x, client, frame(DefaultGateway, 1)); got.Reason != NoPort {
		t.Errorf("after Delete: %v, want %v", got, NoPort)
	}
}

func TestOtherGateway(t *testing.T) {
	x := open(t, Config{Gateway: mac(200)})
	must(t, x.SetClient(client, legs(2, 0)))
	if got := run(t, x, client, frame(mac(200), 1)); got.Reason != Anycast {
		t.Errorf("own gateway: %v, want %v", got, Anycast)
	}
	if got := run(t, x, client, frame(DefaultGateway, 1)); got.Reason != UnknownMAC {
		t.Errorf("default gateway: %v, want %v", got, UnknownMAC)
	}
}

func TestRefusedSets(t *testing.T) {
	x := open(t, Config{})
	must(t, x.SetClient(client, legs(1, 0)))
	if err := x.SetClient(client, legs(MaxLegs+1, 0)); err == nil {
		t.Error("too many legs were accepted")
	}
	if err := x.SetClient(client, []Leg{{IfIndex: 1, MAC: net.HardwareAddr{1, 2}}}); err == nil {
		t.Error("a short MAC was accepted")
	}
	if got := run(t, x, client, frame(DefaultGateway, 1)); got.Reason != OnlyLeg || got.IfIndex != 100 {
		t.Errorf("a refused set has changed the port: %v", got)
	}
}

// A flow stays on its leg, and flows spread evenly.
func TestSpread(t *testing.T) {
	x := open(t, Config{})
	const n, flows = 5, 5000
	must(t, x.SetClient(client, legs(n, 0)))
	counts := map[int]int{}
	for flow := range uint16(flows) {
		first := run(t, x, client, frame(DefaultGateway, flow))
		if again := run(t, x, client, frame(DefaultGateway, flow)); again.IfIndex != first.IfIndex {
			t.Fatalf("flow %d went to %d and then to %d", flow, first.IfIndex, again.IfIndex)
		}
		counts[first.IfIndex]++
	}
	for i := range n {
		if got := counts[100+i]; got < flows/n*8/10 || got > flows/n*12/10 {
			t.Errorf("leg %d has %d of %d flows, want about %d", i, got, flows, flows/n)
		}
	}
}

// While the set changes, every frame goes by one whole set: never the leg of
// one with the MAC of another.
func TestChangesAreAtomic(t *testing.T) {
	x := open(t, Config{})
	sets := [2][]Leg{}
	for i := range 8 {
		sets[0] = append(sets[0], Leg{IfIndex: 100 + i, MAC: mac(byte(i))})
		sets[1] = append(sets[1], Leg{IfIndex: 180 - i, MAC: mac(byte(80 - i))})
	}
	must(t, x.SetClient(client, sets[0]))
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for i := 1; ; i++ {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if err := x.SetClient(client, sets[i%2]); err != nil {
				done <- err
				return
			}
		}
	}()
	for flow := range uint16(20000) {
		got := run(t, x, client, frame(DefaultGateway, flow))
		if got.Action != actRedirect {
			t.Errorf("flow %d: %v", flow, got)
			break
		}
		if want := mac(byte(got.IfIndex - 100)); !bytes.Equal(got.Frame[:6], want) {
			t.Errorf("flow %d to %d has MAC %x, want %s", flow, got.IfIndex, got.Frame[:6], want)
			break
		}
	}
	close(stop)
	must(t, <-done)
}

func TestReasonNames(t *testing.T) {
	seen := map[string]bool{}
	for r := range reasonCount {
		if r.String() == "" || seen[r.String()] {
			t.Errorf("reason %d is called %q", r, r)
		}
		seen[r.String()] = true
	}
	if reasonCount.String() != "reason_19" || ToClient.Dropped() || Group.Dropped() || !NoPort.Dropped() || !Rewrite.Dropped() ||
		FromTunnel.Dropped() || ControlTold.Dropped() || !NoTunnel.Dropped() || !ControlFull.Dropped() {
		t.Error("names or kinds of reasons are wrong")
	}
}
