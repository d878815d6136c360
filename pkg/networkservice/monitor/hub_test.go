// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/chains/endpoint"
	"go.uber.org/goleak"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weft-project/weft/internal/testutil"
)

// stream is a monitor's end of the call.
type stream struct {
	networkservice.MonitorConnection_MonitorConnectionsServer
	ctx    context.Context
	events chan *networkservice.ConnectionEvent
}

func (s *stream) Context() context.Context { return s.ctx }

func (s *stream) Send(event *networkservice.ConnectionEvent) error {
	select {
	case s.events <- event:
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

// next returns the type of the next event and the ids of its connections.
func (s *stream) next(t *testing.T) string {
	t.Helper()
	select {
	case event := <-s.events:
		out := event.GetType().String()
		for _, conn := range event.GetConnections() {
			out += " " + conn.GetPath().GetPathSegments()[0].GetId()
		}
		return out
	case <-time.After(10 * time.Second):
		t.Fatal("no event")
		return ""
	}
}

func (s *stream) want(t *testing.T, events ...string) {
	t.Helper()
	for _, want := range events {
		if got := s.next(t); got != want {
			t.Errorf("event %q, want %q", got, want)
		}
	}
}

const initial, update, deletion = "INITIAL_STATE_TRANSFER", "UPDATE", "DELETE"

type fixture struct {
	ctx   context.Context
	hub   *Hub
	chain endpoint.Endpoint
	made  map[string]*networkservice.Connection
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(func() {
		cancel()
		goleak.VerifyNone(t, goleak.IgnoreCurrent())
	})
	f := &fixture{ctx: ctx, hub: New(ctx), made: map[string]*networkservice.Connection{}}
	token := func(credentials.AuthInfo) (string, time.Time, error) { return "token", time.Now().Add(time.Hour), nil }
	f.chain = f.hub.Wrap(endpoint.NewServer(ctx, token,
		endpoint.WithName("here"), endpoint.WithAdditionalFunctionality(f.hub.NewServer())))
	return f
}

func (f *fixture) request(t *testing.T, id string) {
	t.Helper()
	conn, err := f.chain.Request(f.ctx, &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{
		Id: id, Path: &networkservice.Path{PathSegments: []*networkservice.PathSegment{{
			Name: "client", Id: id, Token: "token", Expires: timestamppb.New(time.Now().Add(time.Hour)),
		}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	f.made[id] = conn
}

func (f *fixture) close(t *testing.T, id string) {
	t.Helper()
	if _, err := f.chain.Close(f.ctx, f.made[id]); err != nil {
		t.Fatal(err)
	}
}

// watch monitors a connection, "" for all, until cleanup; room is for events that
// nobody has read yet.
func (f *fixture) watch(t *testing.T, id string, room int) *stream {
	s := &stream{ctx: f.ctx, events: make(chan *networkservice.ConnectionEvent, room)}
	selector := &networkservice.MonitorScopeSelector{}
	if id != "" {
		selector.PathSegments = []*networkservice.PathSegment{{Name: "client", Id: id}}
	}
	go func() { _ = f.chain.MonitorConnections(selector, s) }()
	return s
}

func TestMonitor(t *testing.T) {
	f := newFixture(t)
	early := f.watch(t, "a", 10)
	early.want(t, initial)
	all := f.watch(t, "", 10)
	all.want(t, initial)
	f.request(t, "a")
	early.want(t, update+" a")
	f.request(t, "b")
	all.want(t, update+" a", update+" b")
	f.watch(t, "b", 10).want(t, initial+" b")
	f.watch(t, "c", 10).want(t, initial)
	f.close(t, "b")
	f.close(t, "a")
	all.want(t, deletion+" b", deletion+" a")
	early.want(t, deletion+" a") // nothing of b before
}

// TestKnownAtOnce: whoever has the answer finds the connection, however late the
// chain's own server tells of it.
func TestKnownAtOnce(t *testing.T) {
	f := newFixture(t)
	for i := range 200 {
		id := fmt.Sprint("c", i)
		f.request(t, id)
		f.watch(t, id, 10).want(t, initial+" "+id)
	}
}

// TestSlow: a monitor that reads nothing holds up nobody.
func TestSlow(t *testing.T) {
	f := newFixture(t)
	slow, quick := f.watch(t, "", 0), f.watch(t, "", 1000)
	slow.want(t, initial)
	quick.want(t, initial)
	for i := range 50 {
		f.request(t, fmt.Sprint("c", i))
	}
	for i := range 50 {
		quick.want(t, fmt.Sprint(update, " c", i))
	}
	for i := range 50 {
		slow.want(t, fmt.Sprint(update, " c", i))
	}
}

// TestForget: nothing stays of connections and monitors that have ended.
func TestForget(t *testing.T) {
	f := newFixture(t)
	all := f.watch(t, "", 10)
	all.want(t, initial)
	f.request(t, "a")
	ctx, cancel := context.WithCancel(f.ctx)
	one := &stream{ctx: ctx, events: make(chan *networkservice.ConnectionEvent, 10)}
	done := make(chan error, 1)
	go func() {
		done <- f.chain.MonitorConnections(&networkservice.MonitorScopeSelector{PathSegments: []*networkservice.PathSegment{{Id: "a"}}}, one)
	}()
	one.want(t, initial+" a")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	f.close(t, "a")
	testutil.Eventually(t, 10*time.Second, "nothing to be left", func() bool {
		f.hub.mu.Lock()
		defer f.hub.mu.Unlock()
		return len(f.hub.connections) == 0 && len(f.hub.bySegment) == 0 && len(f.hub.waiting) == 1 // all
	})
}
