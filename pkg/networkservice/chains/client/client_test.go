// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/registry"
	pkgerrors "github.com/pkg/errors"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weft-project/weft/internal/app/mesh"
	"github.com/weft-project/weft/internal/log"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/pkg/networkservice/chains/client"
)

func TestMain(m *testing.M) {
	log.Setup(io.Discard, log.LevelInfo)
	os.Exit(m.Run())
}

// fakeNSMgr is an nsmgr that the test plays.
type fakeNSMgr struct {
	registry.UnimplementedNetworkServiceEndpointRegistryServer
	mu       sync.Mutex
	listed   map[string]bool
	watchers map[chan *registry.NetworkServiceEndpointResponse]bool
	requests []*networkservice.NetworkServiceRequest
	closed   []*networkservice.Connection
	events   chan *networkservice.ConnectionEvent
	// monitored is read by a monitor that has nothing else to do.
	monitored chan struct{}
	deny      bool
	cut       chan struct{} // closed to end all streams
	watching  chan struct{} // one for each watch of endpoints
}

func newFakeNSMgr(names ...string) *fakeNSMgr {
	f := &fakeNSMgr{
		listed: make(map[string]bool), watchers: make(map[chan *registry.NetworkServiceEndpointResponse]bool),
		events: make(chan *networkservice.ConnectionEvent, 16), cut: make(chan struct{}), monitored: make(chan struct{}), watching: make(chan struct{}, 64),
	}
	for _, name := range names {
		f.listed[name] = true
	}
	return f
}

func (f *fakeNSMgr) Request(_ context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests = append(f.requests, request.Clone())
	conn := request.GetConnection().Clone()
	conn.Path.PathSegments = append(conn.Path.PathSegments[:1], &networkservice.PathSegment{
		Name: "nsmgr", Id: "second", Expires: timestamppb.New(time.Unix(1000, 0)),
	})
	conn.Id, conn.Path.Index = "second", 1
	return conn, nil
}

func (f *fakeNSMgr) Close(_ context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = append(f.closed, conn.Clone())
	return &emptypb.Empty{}, nil
}

func (f *fakeNSMgr) MonitorConnections(_ *networkservice.MonitorScopeSelector, stream networkservice.MonitorConnection_MonitorConnectionsServer) error {
	f.mu.Lock()
	deny, cut := f.deny, f.cut
	f.mu.Unlock()
	if deny {
		return status.Error(codes.PermissionDenied, "no sufficient privileges")
	}
	for {
		select {
		case <-stream.Context().Done():
			return nil
		case <-cut:
			return status.Error(codes.Unavailable, "nsmgr ends")
		case <-f.monitored:
		case event := <-f.events:
			if err := stream.Send(event); err != nil {
				return err
			}
		}
	}
}

func endpointEvent(name string, deleted bool) *registry.NetworkServiceEndpointResponse {
	return &registry.NetworkServiceEndpointResponse{Deleted: deleted, NetworkServiceEndpoint: &registry.NetworkServiceEndpoint{
		Name: name, NetworkServiceNames: []string{"lb.trench-a"},
	}}
}

func (f *fakeNSMgr) Find(query *registry.NetworkServiceEndpointQuery, stream registry.NetworkServiceEndpointRegistry_FindServer) error {
	f.mu.Lock()
	events := make(chan *registry.NetworkServiceEndpointResponse, 16)
	cut := f.cut
	for name := range f.listed { // a watch begins with what is there, too
		events <- endpointEvent(name, false)
	}
	if query.GetWatch() {
		f.watchers[events] = true
		f.watching <- struct{}{}
	} else {
		close(events)
	}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.watchers, events)
	}()
	for {
		select {
		case <-stream.Context().Done():
			return nil
		case <-cut:
			return status.Error(codes.Unavailable, "nsmgr ends")
		case event, ok := <-events:
			if !ok {
				return nil
			}
			if err := stream.Send(event); err != nil {
				return err
			}
		}
	}
}

func (f *fakeNSMgr) change(name string, present bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.listed[name] = present
	if !present {
		delete(f.listed, name)
	}
	for events := range f.watchers {
		events <- endpointEvent(name, !present)
	}
}

// restart ends all streams; afterwards only these are listed.
func (f *fakeNSMgr) restart(names ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.listed)
	for _, name := range names {
		f.listed[name] = true
	}
	close(f.cut)
	f.cut = make(chan struct{})
}

func start(t *testing.T, f *fakeNSMgr, grace time.Duration) *client.Client {
	t.Helper()
	security := mesh.Plain(time.Minute)
	server, err := mesh.Serve(security, []*url.URL{{Scheme: "unix", Path: filepath.Join(t.TempDir(), "nsmgr.sock")}}, func(s *grpc.Server) {
		networkservice.RegisterNetworkServiceServer(s, f)
		networkservice.RegisterMonitorConnectionServer(s, f)
		registry.RegisterNetworkServiceEndpointRegistryServer(s, f)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop() })
	c, err := client.New(client.Options{
		Name: "agent", ConnectTo: server.URLs()[0], DialOptions: security.DialOptions, MissingGrace: grace,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestRequestTwiceCloseTwice(t *testing.T) {
	testutil.CheckLeaks(t)
	f := newFakeNSMgr()
	c := start(t, f, 0)
	request := &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{
		Id: "first", NetworkService: "lb.trench-a", Path: c.Path("first"), Labels: map[string]string{"a": "1"},
	}}
	conn, err := c.Request(within(t), request)
	if err != nil {
		t.Fatal(err)
	}
	if conn.GetId() != "first" || conn.GetPath().GetIndex() != 0 || len(conn.GetPath().GetPathSegments()) != 2 {
		t.Errorf("answer is %v", conn)
	}
	if expires := client.Expires(conn); !expires.Equal(time.Unix(1000, 0)) {
		t.Errorf("expires %v", expires)
	}
	// What changes arrives, labels too, and on the same path.
	again := conn.Clone()
	again.Labels = map[string]string{"a": "2"}
	if _, err := c.Request(within(t), &networkservice.NetworkServiceRequest{Connection: again}); err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if got := f.requests[1].GetConnection(); got.GetLabels()["a"] != "2" || got.GetPath().GetPathSegments()[1].GetId() != "second" {
		t.Errorf("second request is %v", got)
	}
}

func TestCloseOfAnEarlierRunsConnection(t *testing.T) {
	testutil.CheckLeaks(t)
	f := newFakeNSMgr()
	c := start(t, f, 0)
	conn := &networkservice.Connection{Id: "first", Path: &networkservice.Path{PathSegments: []*networkservice.PathSegment{
		{Name: "agent", Id: "first"}, {Name: "nsmgr", Id: "second"},
	}}}
	for range 2 {
		if _, err := c.Close(within(t), conn.Clone()); err != nil {
			t.Fatal(err)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.closed) != 2 || f.closed[0].GetPath().GetPathSegments()[1].GetId() != "second" {
		t.Errorf("closed are %v", f.closed)
	}
}

func event(kind networkservice.ConnectionEventType, state networkservice.State, id string) *networkservice.ConnectionEvent {
	return &networkservice.ConnectionEvent{Type: kind, Connections: map[string]*networkservice.Connection{"x": {
		Id: "x", State: state, Path: &networkservice.Path{Index: 1, PathSegments: []*networkservice.PathSegment{{Name: "agent", Id: id}, {Name: "nsmgr", Id: "x"}}},
	}}}
}

func TestMonitorReasons(t *testing.T) {
	testutil.CheckLeaks(t)
	const initial, update, deleted = networkservice.ConnectionEventType_INITIAL_STATE_TRANSFER,
		networkservice.ConnectionEventType_UPDATE, networkservice.ConnectionEventType_DELETE
	up := event(initial, networkservice.State_UP, "first")
	tests := map[string]struct {
		events []*networkservice.ConnectionEvent
		want   error
	}{
		"not known":       {[]*networkservice.ConnectionEvent{{Type: initial}}, client.ErrUnknown},
		"down at first":   {[]*networkservice.ConnectionEvent{event(initial, networkservice.State_DOWN, "first")}, client.ErrDown},
		"goes down":       {[]*networkservice.ConnectionEvent{up, event(update, networkservice.State_UP, "first"), event(update, networkservice.State_DOWN, "first")}, client.ErrDown},
		"deleted":         {[]*networkservice.ConnectionEvent{up, event(deleted, networkservice.State_UP, "first")}, client.ErrDown},
		"refresh":         {[]*networkservice.ConnectionEvent{up, event(update, networkservice.State_REFRESH_REQUESTED, "first")}, client.ErrRefreshRequested},
		"another goes by": {[]*networkservice.ConnectionEvent{up, event(update, networkservice.State_DOWN, "other"), event(deleted, networkservice.State_UP, "first")}, client.ErrDown},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFakeNSMgr()
			c := start(t, f, 0)
			for _, e := range test.events {
				f.events <- e
			}
			if err := c.Monitor(within(t), "first"); !errors.Is(err, test.want) {
				t.Errorf("reason is %v, want %v", err, test.want)
			}
		})
	}
	t.Run("nsmgr ends", func(t *testing.T) {
		f := newFakeNSMgr()
		c := start(t, f, 0)
		f.events <- up
		done := make(chan error, 1)
		ctx := within(t)
		go func() { done <- c.Monitor(ctx, "first") }()
		f.monitored <- struct{}{}
		f.restart()
		if err := <-done; status.Code(errors.Unwrap(err)) != codes.Unavailable {
			t.Errorf("reason is %v", err)
		}
	})
	t.Run("not allowed", func(t *testing.T) {
		f := newFakeNSMgr()
		f.deny = true
		c := start(t, f, 0)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if err := c.Monitor(ctx, "first"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("reason is %v, want the context's end", err)
		}
	})
}

func TestOrigin(t *testing.T) {
	endpoint := status.Error(codes.NotFound, `streams: unknown stream "x"`)
	flattened := func(err error) error {
		candidates := pkgerrors.Wrapf(pkgerrors.New("all forwarders have failed"), "%v. An error during select forwarder %v --> %v", 0, "fwd", err.Error())
		return status.Error(codes.Unknown, candidates.Error())
	}
	tests := map[string]struct {
		err  error
		code codes.Code
		text string
	}{
		"direct":          {endpoint, codes.NotFound, `streams: unknown stream "x"`},
		"wrapped":         {fmt.Errorf("request: %w", endpoint), codes.NotFound, `streams: unknown stream "x"`},
		"flattened":       {flattened(endpoint), codes.NotFound, `streams: unknown stream "x"`},
		"flattened twice": {flattened(flattened(endpoint)), codes.NotFound, `streams: unknown stream "x"`},
		"no status":       {errors.New("no candidates found"), codes.Unknown, "no candidates found"},
		"flattened plain": {flattened(errors.New("boom")), codes.Unknown, "0. An error during select forwarder fwd --> boom: all forwarders have failed"},
	}
	for name, test := range tests {
		origin := client.Origin(test.err)
		if diff := cmp.Diff([]string{test.code.String(), test.text}, []string{origin.Code().String(), origin.Message()}); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
