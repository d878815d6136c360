// SPDX-License-Identifier: Apache-2.0

package test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weft-project/weft/internal/testutil"
	ambassadorv1 "github.com/weft-project/weft/pkg/api/ambassador/v1"
)

// The cases that Meridio's own end-to-end tests have.

// TestReach: TCP and UDP over IPv4 and IPv6 reach all targets, in two trenches
// that use the same VIPs and ports at once, and only their own. The workload and
// the load balancer reach each other by the leg's own addresses, too.
func TestReach(t *testing.T) {
	s := newStack(t)
	a, b := newSite(t, 1), newSite(t, 2)
	one := s.addReplica(a, "trench-a", 1)
	s.addReplica(a, "trench-a", 2)
	s.addReplica(b, "trench-b", 1)
	a.use([]byte{1, 2})
	b.use([]byte{1})
	all := s.addWorkloads("w1", "w2", "w3", "w4")
	other := s.addWorkload("w5")
	for _, w := range all {
		w.attach("trench-a", "web")
	}
	other.attach("trench-b", "web")
	all[0].attach("trench-b", "web") // two networks with the same VIPs in one workload
	s.awaitTargets("trench-a", "web", all...)
	s.awaitTargets("trench-b", "web", all[0], other)
	a.reach(webPort, all...)
	b.reach(webPort, all[0], other)

	for _, text := range all[0].attachedAddresses("trench-a") {
		address := netip.MustParsePrefix(text).Addr()
		if slices.ContainsFunc(a.legPrefixes(one.number), func(p netip.Prefix) bool { return p.Contains(address) }) {
			testutil.MustExchange(t, one.netns, "tcp", "", testutil.Echo(t, all[0].netns, netip.AddrPortFrom(address, 0).String()))
		}
	}
}

// TestScale: from four targets to three to five under traffic, of which only
// what the tables move notices anything.
func TestScale(t *testing.T) {
	s := newStack(t)
	o := newSite(t, 1)
	s.addReplica(o, "trench-a", 1)
	s.addReplica(o, "trench-a", 2)
	o.use([]byte{1, 2})
	all := s.addWorkloads("w1", "w2", "w3", "w4", "w5")
	for _, w := range all[:4] {
		w.attach("trench-a", "web")
	}
	s.awaitTargets("trench-a", "web", all[:4]...)
	l := o.load(destinations(webPort)...)
	all[3].detach("trench-a")
	s.awaitTargets("trench-a", "web", all[:3]...)
	l.moved("4 to 3")
	o.reach(webPort, all[:3]...)
	all[3].attach("trench-a", "web")
	all[4].attach("trench-a", "web")
	s.awaitTargets("trench-a", "web", all...)
	l.moved("3 to 5")
	o.reach(webPort, all...)
}

// TestReplicasComeAndGo: the load balancers of a trench are deleted and made
// anew; the targets come back by themselves.
func TestReplicasComeAndGo(t *testing.T) {
	s := newStack(t)
	o := newSite(t, 1)
	first := []*replica{s.addReplica(o, "trench-a", 1), s.addReplica(o, "trench-a", 2)}
	o.use([]byte{1, 2})
	all := s.addWorkloads("w1", "w2")
	for _, w := range all {
		w.attach("trench-a", "web")
	}
	s.awaitTargets("trench-a", "web", all...)
	o.reach(webPort, all...)
	for _, r := range first {
		s.stopReplica(r)
	}
	for _, w := range all {
		w.pristine() // no endpoint, no interface
	}
	s.addReplica(o, "trench-a", 3)
	s.addReplica(o, "trench-a", 4)
	o.use([]byte{3, 4})
	s.awaitTargets("trench-a", "web", all...)
	for _, w := range all {
		w.ready("trench-a")
	}
	o.reach(webPort, all...)
}

func tapStream(name, trench string) *ambassadorv1.Stream {
	return &ambassadorv1.Stream{Name: name, Conduit: &ambassadorv1.Conduit{Name: "lb", Trench: &ambassadorv1.Trench{Name: trench}}}
}

// tapWatch reads a Watch until it tells exactly the wanted statuses.
func (w *workload) tapWatch(want ...string) {
	t := w.stack.t
	t.Helper()
	slices.Sort(want)
	watch, err := w.tap.Watch(within(t), &ambassadorv1.Stream{})
	must(t, err)
	var said []string
	for {
		response, err := watch.Recv()
		if err != nil {
			t.Fatalf("%s: Watch says %v last, want %v: %v", w.name, said, want, err)
		}
		said = nil
		for _, s := range response.GetStreamStatus() {
			said = append(said, fmt.Sprintf("%s %s", s.GetStream().GetName(), s.GetStatus()))
		}
		slices.Sort(said)
		if slices.Equal(said, want) {
			return
		}
	}
}

func (w *workload) tapOpen(stream, trench string) {
	w.stack.t.Helper()
	_, err := w.tap.Open(within(w.stack.t), tapStream(stream, trench))
	must(w.stack.t, err)
}

func (w *workload) tapClose(stream, trench string) {
	w.stack.t.Helper()
	_, err := w.tap.Close(within(w.stack.t), tapStream(stream, trench))
	must(w.stack.t, err)
}

// TestTap: Meridio's API from inside a workload: open, close and reopen a
// stream, a second one, one that is full, one that does not exist, one of a
// second trench.
func TestTap(t *testing.T) {
	s := newStack(t)
	s.apply(streamAndFlow("single", 1, "7000"))
	o := newSite(t, 1)
	s.addReplica(o, "trench-a", 1)
	s.addReplica(o, "trench-a", 2)
	o.use([]byte{1, 2})
	w1, w2 := s.addWorkload("w1", "7000"), s.addWorkload("w2", "7000")
	for _, w := range []*workload{w1, w2} {
		w.tapWatch()
		w.tapOpen("web", "trench-a")
		w.tapWatch("web OPEN")
	}
	o.reach(webPort, w1, w2)

	w1.tapClose("web", "trench-a")
	w1.tapWatch()
	o.reach(webPort, w2)
	w1.tapOpen("web", "trench-a")
	w1.tapWatch("web OPEN")
	o.reach(webPort, w1, w2)

	w1.tapOpen("api", "trench-a")
	w1.tapWatch("web OPEN", "api OPEN")
	o.reach(apiPort, w1)

	w1.tapOpen("single", "trench-a")
	w1.tapWatch("web OPEN", "api OPEN", "single OPEN")
	w2.tapOpen("single", "trench-a")
	w2.tapWatch("web OPEN", "single UNAVAILABLE")
	w2.tapOpen("nope", "trench-a")
	w2.tapWatch("web OPEN", "single UNAVAILABLE", "nope UNDEFINED")
	o.reach(7000, w1)
	w1.tapClose("single", "trench-a")
	w2.tapWatch("web OPEN", "single OPEN", "nope UNDEFINED")
	o.reach(7000, w2)
	o.reach(webPort, w1, w2)

	_, err := w1.tap.Open(within(t), tapStream("web", "trench-b"))
	if status.Code(err) != codes.FailedPrecondition {
		t.Errorf("opening a stream of a second trench: %v", err)
	}
	_, err = w1.tap.Open(within(t), &ambassadorv1.Stream{Name: "web"})
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("opening a stream of no conduit: %v", err)
	}
	w1.tapWatch("web OPEN", "api OPEN")
}
