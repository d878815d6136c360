// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weft-project/weft/pkg/networkservice/extracontext"
	"github.com/weft-project/weft/pkg/networkservice/leg"
	"github.com/weft-project/weft/pkg/networkservice/vacate"
)

const ownLifetime = time.Minute // of the endpoint's tokens

// workload is one interface with what the kernel does to its addresses, and its
// agent and forwarder.
type workload struct {
	target, id string
	conn       *networkservice.Connection // as the agent knows it
	expires    time.Time                  // of conn
	kernel     map[netip.Addr]time.Time   // address -> when the kernel takes it away
}

// model is a world in which everything may fail at any step.
type model struct {
	t         *testing.T
	rnd       *rand.Rand
	ledger    bool // the endpoint has a state directory
	keepLegs  bool // its namespace outlives it
	dir       string
	pool      *Pool
	next      *failing
	server    networkservice.NetworkServiceServer
	expires   map[string]*networkservice.Connection // what the endpoint's timeout element waits for
	legs      map[netip.Addr]string                 // in the endpoint's namespace
	workloads []*workload
	made      int
	done      map[string]int // how often what happened
}

// TestNeverOnTwoInterfaces tries to get an address onto two interfaces, or to
// have one freed that an interface holds, by crashes of clients, forwarders and
// the endpoint at every step.
func TestNeverOnTwoInterfaces(t *testing.T) {
	for name, m := range map[string]*model{
		"legs and ledger": {ledger: true, keepLegs: true},
		"ledger alone":    {ledger: true},
		"legs alone":      {keepLegs: true},
	} {
		t.Run(name, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			m.dir = t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				m.t, m.rnd = t, rand.New(rand.NewPCG(seed, 0))
				m.run(1500)
			})
			t.Logf("happened: %v", m.done)
		})
	}
}

func (m *model) run(steps int) {
	m.legs, m.done = map[netip.Addr]string{}, map[string]int{}
	m.restart()
	for range 16 { // more than there are addresses
		m.workloads = append(m.workloads, m.workload())
	}
	for step := range steps {
		w := m.workloads[m.rnd.IntN(len(m.workloads))]
		switch action := m.rnd.IntN(20); {
		case action < 11:
			m.request(w)
		case action < 14:
			m.close(w)
		case action < 15: // the pod is killed; another one of another name comes
			m.did("killed")
			clear(w.kernel)
			if m.chance(2) {
				m.sendClose(w, true)
			}
			*w = *m.workload()
		case action < 16:
			m.restart()
		case action < 19:
			m.pass(time.Duration(m.rnd.IntN(20000)) * time.Millisecond)
		default:
			m.pass(2 * ownLifetime)
		}
		m.check(step)
	}
}

func (m *model) workload() *workload {
	m.made++
	return &workload{target: fmt.Sprint("t", m.made), id: fmt.Sprint("c", m.made), kernel: map[netip.Addr]time.Time{}}
}

func (m *model) chance(n int) bool { return m.rnd.IntN(n) == 0 }
func (m *model) did(what string)   { m.done[what]++ }

// restart kills the endpoint and starts another one.
func (m *model) restart() {
	m.did("endpoint restarted")
	m.pool = pool(m.t, "10.0.0.0/28", "fd00::/124")
	if !m.keepLegs {
		clear(m.legs)
	}
	past := Past{
		Legs:    fakeLegs(m.legs),
		Longest: ownLifetime, Log: slog.New(slog.DiscardHandler),
	}
	if m.ledger {
		var err error
		if past.Ledger, err = OpenLedger(m.dir, "lb/1"); err != nil {
			m.t.Fatal(err)
		}
		if m.made > 0 && m.chance(40) {
			m.did("ledger damaged")
			if err := os.WriteFile(past.Ledger.path, []byte(`{"Version":1,"Ho`), 0o600); err != nil {
				m.t.Fatal(err)
			}
		}
	}
	if err := m.pool.Adopt(past); err != nil {
		m.t.Fatal(err)
	}
	m.expires = map[string]*networkservice.Connection{}
	m.next = &failing{}
	m.server = chain.NewNetworkServiceServer(metadata.NewServer(), NewServer(m.pool), m.next)
}

// pass lets time pass; kernels and the timeout element do their work.
func (m *model) pass(d time.Duration) {
	time.Sleep(d)
	for _, w := range m.workloads {
		for _, addr := range sorted(w.kernel) {
			// It is up to two seconds late.
			if time.Since(w.kernel[addr]) > time.Duration(m.rnd.IntN(2000))*time.Millisecond {
				delete(w.kernel, addr)
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(m.expires)) {
		conn := m.expires[id]
		if conn.GetPrevPathSegment().GetExpires().AsTime().Before(time.Now()) {
			m.did("expired")
			delete(m.expires, id)
			_, _ = m.server.Close(context.Background(), conn)
		}
	}
	m.collect()
}

func sorted[V any](m map[netip.Addr]V) []netip.Addr {
	return slices.SortedFunc(maps.Keys(m), netip.Addr.Compare)
}

// collect is what forwarders do about legs of connections that have ended. Without
// a ledger a leg is all that the next run knows: then it does not go before the
// other side's addresses have gone.
func (m *model) collect() {
	held := map[netip.Addr]bool{}
	for _, w := range m.workloads {
		for addr := range w.kernel {
			held[addr] = true
		}
	}
	for _, addr := range sorted(m.legs) {
		if m.chance(3) && (m.ledger || !held[addr]) {
			delete(m.legs, addr)
		}
	}
}

func (m *model) request(w *workload) {
	sent := time.Now()
	conn := &networkservice.Connection{Id: w.id, Context: &networkservice.ConnectionContext{IpContext: &networkservice.IPContext{}}}
	if w.conn != nil {
		conn = w.conn.Clone()
		if time.Now().After(w.expires) { // the agent claims no address that it cannot have any more
			conn.Context = &networkservice.ConnectionContext{IpContext: &networkservice.IPContext{}}
		}
	} else if m.chance(3) {
		m.did("asked for an address")
		conn.Context.IpContext.SrcIpAddrs = []string{fmt.Sprintf("10.0.0.%d/32", m.rnd.IntN(16))}
	}
	if m.chance(10) {
		conn.Context.IpContext.ExcludedPrefixes = []string{fmt.Sprintf("10.0.0.%d/31", m.rnd.IntN(8)*2)}
	}
	extracontext.SetTarget(conn, w.target)
	client := time.Duration(10+m.rnd.IntN(90)) * time.Second
	conn.Path = &networkservice.Path{Index: 1, PathSegments: []*networkservice.PathSegment{
		{Name: "forwarder", Expires: timestamppb.New(sent.Add(client))},
		{Name: "endpoint", Expires: timestamppb.New(sent.Add(ownLifetime))},
	}}
	m.next.err = nil
	if m.chance(8) {
		m.next.err = errInjected
	}
	answer, err := m.server.Request(context.Background(), &networkservice.NetworkServiceRequest{Connection: conn})
	if err != nil {
		if m.did("refused"); errors.Is(err, errInjected) {
			m.did("failed")
		}
		return
	}
	m.did("granted")
	m.expires[w.id] = answer.Clone()
	if m.chance(10) {
		m.did("answer lost")
		return
	}
	m.apply(w, sent, answer)
}

// apply is the forwarder's work on the interface, which may end in the middle.
func (m *model) apply(w *workload, sent time.Time, answer *networkservice.Connection) {
	lease, ok, err := extracontext.Lease(answer)
	if !ok || err != nil {
		m.t.Fatalf("lease %v, %v", ok, err)
	}
	if m.chance(3) {
		m.pass(time.Duration(m.rnd.IntN(2000)) * time.Millisecond)
	}
	if m.chance(10) {
		m.restart()
	}
	given, err := addresses(answer.GetContext().GetIpContext().GetSrcIpAddrs())
	if err != nil {
		m.t.Fatal(err)
	}
	kept := map[netip.Addr]bool{}
	for _, addr := range given {
		if m.chance(20) {
			m.did("forwarder died at work")
			return
		}
		m.legs[addr] = leg.InterfaceName(w.id)
		w.kernel[addr], kept[addr] = sent.Add(lease), true
	}
	if m.chance(20) {
		m.did("forwarder died at work")
		return
	}
	maps.DeleteFunc(w.kernel, func(addr netip.Addr, _ time.Time) bool { return !kept[addr] })
	if !m.chance(20) { // the agent dies before it stores the answer
		w.conn, w.expires = answer.Clone(), sent.Add(lease)
	}
}

func (m *model) close(w *workload) {
	for _, addr := range sorted(w.kernel) {
		if m.chance(10) {
			m.did("forwarder died closing")
			return
		}
		delete(w.kernel, addr)
	}
	if m.chance(5) {
		m.did("close lost")
		return
	}
	m.sendClose(w, true)
	w.conn = nil
	if m.chance(2) {
		m.made++
		w.id = fmt.Sprint("c", m.made)
	}
}

func (m *model) sendClose(w *workload, vacated bool) {
	conn, ok := m.expires[w.id]
	if !ok {
		return // the begin element does not know it
	}
	m.did("closed")
	delete(m.expires, w.id)
	if _, err := m.server.Close(vacate.With(context.Background(), vacated), conn); err != nil && !errors.Is(err, errInjected) {
		m.t.Error(err)
	}
	maps.DeleteFunc(m.legs, func(_ netip.Addr, name string) bool { return name == leg.InterfaceName(w.id) })
}

func (m *model) check(step int) {
	m.t.Helper()
	if err := m.pool.lookAtLegs(); err != nil {
		m.t.Fatal(err)
	}
	on := map[netip.Addr]string{}
	for _, w := range m.workloads {
		for addr := range w.kernel {
			if other := on[addr]; other != "" {
				m.t.Fatalf("step %d: %s is on the interfaces of %s and %s", step, addr, other, w.target)
			}
			on[addr] = w.target
			stranger := Claim{Owner: "stranger", User: "stranger", Insist: true}
			if m.pool.taken(m.pool.ranges[m.pool.rangeOf(addr)], addr, stranger, time.Now()) == nil {
				m.t.Fatalf("step %d: %s is free though the interface of %s holds it", step, addr, w.target)
			}
		}
	}
	for addr, l := range m.pool.places {
		if len(l.holds) == 0 {
			m.t.Fatalf("step %d: %s is held by nobody", step, addr)
		}
		for user := range l.holds {
			if !m.pool.users[user][addr] {
				m.t.Fatalf("step %d: %s does not know of %s", step, user, addr)
			}
		}
	}
	for owner, addrs := range m.pool.owners {
		for _, addr := range addrs {
			if l := m.pool.places[addr]; addr.IsValid() && (l == nil || l.owner != owner) {
				m.t.Fatalf("step %d: %s is not %s's", step, addr, owner)
			}
		}
	}
}
