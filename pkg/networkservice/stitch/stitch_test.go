// SPDX-License-Identifier: Apache-2.0

package stitch_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/connect"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weft-project/weft/internal/log"
	node "github.com/weft-project/weft/internal/stitch"
	"github.com/weft-project/weft/pkg/networkservice/extracontext"
	"github.com/weft-project/weft/pkg/networkservice/kernelmech"
	"github.com/weft-project/weft/pkg/networkservice/stitch"
	"github.com/weft-project/weft/pkg/networkservice/vacate"
)

func TestMain(m *testing.M) {
	log.Setup(os.Stderr, log.LevelWarn)
	goleak.VerifyTestMain(m)
}

// events is what happened, in order.
type events []string

// fakeNode is a stitcher that remembers and fails on demand.
type fakeNode struct {
	events *events
	leg    node.Leg
	err    map[string]error
}

func (f *fakeNode) Connect(_ context.Context, leg node.Leg) error {
	*f.events = append(*f.events, "connect "+leg.ID)
	f.leg = leg
	return f.err["connect"]
}

func (f *fakeNode) Vacate(_ context.Context, id string) (bool, error) {
	*f.events = append(*f.events, "vacate "+id)
	return f.err["vacate"] == nil, f.err["vacate"]
}

func (f *fakeNode) Lose(_ context.Context, id string) error {
	*f.events = append(*f.events, "lose "+id)
	return f.err["lose"]
}

func (f *fakeNode) Withdraw(ctx context.Context, id string) error {
	*f.events = append(*f.events, "withdraw "+id)
	return errors.Join(f.err["withdraw"], ctx.Err())
}

func (f *fakeNode) DisconnectIn(ctx context.Context, id, netNS string) error {
	*f.events = append(*f.events, "disconnect "+id+" in "+netNS)
	return errors.Join(f.err["disconnect"], ctx.Err())
}

// fakeEndpoint answers with a context.
type fakeEndpoint struct {
	events *events
	fill   func(*networkservice.Connection)
	err    error
	closed error
	hangs  bool // on Close

	vacated bool // said at Close
}

func (f *fakeEndpoint) Request(_ context.Context, request *networkservice.NetworkServiceRequest, _ ...grpc.CallOption) (*networkservice.Connection, error) {
	*f.events = append(*f.events, "request")
	if f.err != nil {
		return nil, f.err
	}
	conn := request.GetConnection().Clone()
	conn.Mechanism = mechanism("leg-1", "file:///run/netns/endpoint")
	if f.fill != nil {
		f.fill(conn)
	}
	return conn, nil
}

func (f *fakeEndpoint) Close(ctx context.Context, _ *networkservice.Connection, _ ...grpc.CallOption) (*emptypb.Empty, error) {
	f.vacated = vacate.Vacated(ctx)
	*f.events = append(*f.events, "close")
	if f.hangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &emptypb.Empty{}, f.closed
}

func mechanism(name, url string) *networkservice.Mechanism {
	m := kernel.ToMechanism(kernel.New(url))
	m.SetInterfaceName(name)
	return m.Mechanism
}

type fixture struct {
	events   events
	node     *fakeNode
	endpoint *fakeEndpoint
	server   networkservice.NetworkServiceServer
}

func newFixture() *fixture {
	f := &fixture{}
	f.node = &fakeNode{events: &f.events, err: map[string]error{}}
	f.endpoint = &fakeEndpoint{events: &f.events}
	f.server = chain.NewNetworkServiceServer(
		metadata.NewServer(),
		stitch.NewServer(f.node),
		connect.NewServer(chain.NewNetworkServiceClient(metadata.NewClient(), kernelmech.NewClient(), f.endpoint)),
	)
	return f
}

func (f *fixture) want(t *testing.T, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, []string(f.events)); diff != "" {
		t.Errorf("events:\n%s", diff)
	}
	f.events = nil
}

func ask() *networkservice.NetworkServiceRequest {
	return &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{
		Id: "a", Mechanism: mechanism("nsm-1", "file:///run/netns/workload"),
	}}
}

func TestOrder(t *testing.T) {
	f := newFixture()
	for range 2 {
		if _, err := f.server.Request(t.Context(), ask()); err != nil {
			t.Fatal(err)
		}
		f.want(t, "request", "connect a")
	}
	for range 2 {
		if _, err := f.server.Close(t.Context(), ask().GetConnection()); err != nil {
			t.Fatal(err)
		}
		f.want(t, "vacate a", "lose a", "close", "withdraw a", "disconnect a in /run/netns/workload")
	}
}

func TestNextFails(t *testing.T) {
	f := newFixture()
	f.endpoint.err = status.Error(codes.ResourceExhausted, "max-targets reached")
	if _, err := f.server.Request(t.Context(), ask()); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("%v", err)
	}
	f.want(t, "request")
}

func TestStitcherFails(t *testing.T) {
	for reason, code := range map[error]codes.Code{
		node.ErrInterfaceTaken:       codes.AlreadyExists,
		node.ErrAddressTaken:         codes.AlreadyExists,
		node.ErrBadInterfaceName:     codes.InvalidArgument,
		node.ErrInvalidLeg:           codes.InvalidArgument,
		node.ErrNoNamespace:          codes.NotFound,
		node.ErrMACConflict:          codes.FailedPrecondition,
		node.ErrTooManyLegs:          codes.ResourceExhausted,
		context.DeadlineExceeded:     codes.DeadlineExceeded,
		context.Canceled:             codes.Canceled,
		errors.New("something else"): codes.Internal,
	} {
		f := newFixture()
		f.node.err["connect"] = fmt.Errorf("client: nsm-1: %w", reason)
		_, err := f.server.Request(t.Context(), ask())
		if status.Code(err) != code || !strings.Contains(err.Error(), "client: nsm-1: "+reason.Error()) {
			t.Errorf("%v becomes %v", reason, err)
		}
		f.want(t, "request", "connect a", "close")
	}
}

func TestFailedUndoIsTold(t *testing.T) {
	f := newFixture()
	f.node.err["connect"] = node.ErrInterfaceTaken
	f.endpoint.closed = errors.New("endpoint is gone")
	_, err := f.server.Request(t.Context(), ask())
	if status.Code(err) != codes.AlreadyExists || !strings.Contains(err.Error(), "endpoint is gone") {
		t.Errorf("%v", err)
	}
}

// The undo must not depend on the context that may have made the Request fail.
func TestUndoAfterTheContextEnded(t *testing.T) {
	f := newFixture()
	ctx, cancel := context.WithCancel(t.Context())
	f.endpoint.fill = func(*networkservice.Connection) { cancel() }
	f.node.err["connect"] = context.Canceled
	if _, err := f.server.Request(ctx, ask()); status.Code(err) != codes.Canceled {
		t.Errorf("%v", err)
	}
	f.want(t, "request", "connect a", "close")
}

func TestFailedRefreshKeepsTheConnection(t *testing.T) {
	f := newFixture()
	if _, err := f.server.Request(t.Context(), ask()); err != nil {
		t.Fatal(err)
	}
	f.node.err["connect"] = node.ErrAddressTaken
	if _, err := f.server.Request(t.Context(), ask()); status.Code(err) != codes.AlreadyExists {
		t.Errorf("%v", err)
	}
	f.want(t, "request", "connect a", "request", "connect a")
}

func TestCloseJoinsErrors(t *testing.T) {
	f := newFixture()
	for _, what := range []string{"vacate", "lose", "withdraw", "disconnect"} {
		f.node.err[what] = errors.New(what + " failed")
	}
	f.endpoint.closed = errors.New("close failed")
	_, err := f.server.Close(t.Context(), ask().GetConnection())
	for _, what := range []string{"vacate failed", "lose failed", "withdraw failed", "close failed", "disconnect failed"} {
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%v misses %q", err, what)
		}
	}
	f.want(t, "vacate a", "lose a", "close", "withdraw a", "disconnect a in /run/netns/workload")
}

func TestCloseOfAHangingEndpoint(t *testing.T) {
	f := newFixture()
	f.endpoint.hangs = true
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := f.server.Close(ctx, ask().GetConnection())
	if err == nil || strings.Count(err.Error(), context.DeadlineExceeded.Error()) != 1 {
		t.Errorf("%v, want the endpoint's error and no other", err)
	}
	f.want(t, "vacate a", "lose a", "close", "withdraw a", "disconnect a in /run/netns/workload")
}

func TestRequestWithoutTokenIsRefused(t *testing.T) {
	f := newFixture()
	request := ask()
	request.Connection.Path = &networkservice.Path{Index: 1, PathSegments: []*networkservice.PathSegment{{Name: "nsmgr"}, {Name: "forwarder"}}}
	_, err := f.server.Request(t.Context(), request)
	if status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), "path segment nsmgr: no expiration") {
		t.Errorf("%v", err)
	}
	f.want(t)
	request.Connection.Path.PathSegments[0].Expires = timestamppb.Now()
	if _, err := f.server.Request(t.Context(), request); err != nil {
		t.Error(err)
	}
}

// The lease of the addresses counts from before the request, and not at all is
// no lease.
func TestLease(t *testing.T) {
	f := newFixture()
	granted := func(text string) {
		f.endpoint.fill = func(conn *networkservice.Connection) {
			conn.Context = &networkservice.ConnectionContext{ExtraContext: map[string]string{extracontext.LeaseKey: text}}
		}
	}
	granted("60")
	if _, err := f.server.Request(context.Background(), ask()); err != nil {
		t.Fatal(err)
	}
	if lease := time.Until(f.node.leg.Client.Until); lease >= time.Minute || lease < 50*time.Second {
		t.Errorf("lease %s, want a bit less than a minute", lease)
	}
	for text, code := range map[string]codes.Code{"1": codes.DeadlineExceeded, "soon": codes.InvalidArgument} {
		granted(text)
		if _, err := f.server.Request(context.Background(), ask()); status.Code(err) != code {
			t.Errorf("lease %q: %v, want %s", text, err, code)
		}
	}
}

// The endpoint hears that the addresses are free only when they are.
func TestCloseTellsWhetherAddressesAreLeft(t *testing.T) {
	for _, fails := range []bool{false, true} {
		f := newFixture()
		conn, err := f.server.Request(context.Background(), ask())
		if err != nil {
			t.Fatal(err)
		}
		if fails {
			f.node.err["vacate"] = errors.New("failed")
		}
		if _, err := f.server.Close(context.Background(), conn); (err != nil) != fails {
			t.Error(err)
		}
		if f.endpoint.vacated == fails {
			t.Errorf("vacate fails %v: the endpoint hears %v", fails, f.endpoint.vacated)
		}
	}
}
