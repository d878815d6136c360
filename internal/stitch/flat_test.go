// SPDX-License-Identifier: Apache-2.0

package stitch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
)

// crowd is leg number i of many workloads to one endpoint. All are in one
// namespace, which makes the harder case of it.
func (n *node) crowd(i int) Leg {
	l := n.leg(0)
	l.ID = fmt.Sprint("crowd-", i)
	l.Client.Interface, l.Endpoint.Interface = fmt.Sprint("c-", i), fmt.Sprint("leg-", i)
	l.Client.MAC = net.HardwareAddr{2, 0, 0, 1, byte(i >> 8), byte(i)}
	l.Client.NetNS = n.endpoints[1]
	client4, client6 := prefix("172.17.%d.%d/32", i/250, 1+i%250), prefix("fd01::%x/128", i+1)
	l.Client.Policies, l.Client.Neighbours, l.Client.Routes = nil, nil, nil
	l.Client.Addresses = []netip.Prefix{client4, client6}
	l.Endpoint.Routes = []Route{{Prefix: client4}, {Prefix: client6}}
	l.Endpoint.Neighbours = []Neighbour{{client4.Addr(), l.Client.MAC}, {client6.Addr(), l.Client.MAC}}
	return l
}

// What a leg makes the kernel list does not grow with the other legs of its
// endpoint.
func TestLegsCostTheSameHoweverManyThereAre(t *testing.T) {
	n := newNode(t, Options{})
	ctx := context.Background()
	cost := func() (sum int64) {
		l := n.crowd(1000)
		l.Client.NetNS = n.workload
		for _, step := range []func() error{
			func() error { return n.Connect(ctx, l) },
			func() error { return n.Connect(ctx, l) }, // a refresh
			func() error { _, err := n.Vacate(ctx, l.ID); return err },
			func() error { return n.Disconnect(ctx, l.ID) },
		} {
			before := nl.Listed()
			if err := step(); err != nil {
				t.Fatal(err)
			}
			sum += nl.Listed() - before
		}
		return sum
	}
	// Others of this process list meanwhile, too: what watches links, above all.
	least := func() int64 {
		sum := cost()
		for range 9 {
			sum = min(sum, cost())
		}
		return sum
	}
	n.connect(t, n.crowd(0), n.crowd(1)) // from the second one on it is known whose the addresses are
	few := least()
	for i := 2; i < 40; i++ {
		n.connect(t, n.crowd(i))
	}
	// What the others' links made somebody look at is over in a moment.
	testutil.Eventually(t, limit, fmt.Sprintf("a leg among 40 to cost the %d objects of one among 2", few), func() bool { return cost() <= few })
}

func TestTurns(t *testing.T) {
	turns := newTurns()
	for range parallelTurns {
		if err := turns.take(t.Context(), true); err != nil {
			t.Fatal(err)
		}
	}
	late, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := turns.take(late, true); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no turn in time: %v", err)
	}
	waiting := make(chan error, waitingTurns+1)
	for range waitingTurns {
		go func() { waiting <- turns.take(context.Background(), true) }()
	}
	testutil.Eventually(t, limit, "all wait", func() bool { return turns.waiting.Load() == waitingTurns })
	if err := turns.take(t.Context(), true); !errors.Is(err, ErrBusy) {
		t.Errorf("one too many: %v", err)
	}
	go func() { waiting <- turns.take(context.Background(), false) }() // removing is never refused
	for range waitingTurns + 1 {
		turns.end()
		if err := <-waiting; err != nil {
			t.Error(err)
		}
	}
}

// A bad one among interfaces that are deleted together does not keep the others.
func TestDeletedTogether(t *testing.T) {
	n := newNode(t, Options{})
	h := testutil.Handle(t, n.host)
	var batch []deletion
	var done []chan error
	for i := range 3 {
		link, _, err := h.AddVeth(nl.Veth{Name: fmt.Sprint("a", i), PeerName: fmt.Sprint("b", i)})
		if err != nil {
			t.Fatal(err)
		}
		answer := make(chan error, 1)
		batch, done = append(batch, deletion{[]int{link.Index}, answer}), append(done, answer)
	}
	if err := h.DeleteLink(batch[1].indices[0]); err != nil { // gone before
		t.Fatal(err)
	}
	if err := deleteAll(h, batch); err != nil {
		t.Fatal(err)
	}
	for i, answer := range done {
		if err := <-answer; err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
	links, err := h.Links()
	if err != nil || len(links) != 1 {
		t.Errorf("%v are left, %v", links, err)
	}
}
