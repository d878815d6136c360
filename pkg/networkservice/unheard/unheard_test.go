// SPDX-License-Identifier: Apache-2.0

package unheard_test

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/chains/endpoint"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/updatepath"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weft-project/weft/internal/log"
	"github.com/weft-project/weft/pkg/networkservice/pathid"
	"github.com/weft-project/weft/pkg/networkservice/unheard"
)

func TestMain(m *testing.M) {
	log.Setup(os.Stderr, log.LevelWarn)
	goleak.VerifyTestMain(m)
}

// hop is what stands behind a chain and keeps connections by ID.
type hop struct {
	has      map[string]bool
	during   func() // a Request
	requests []string
	closes   []string
}

func (h *hop) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	id := request.GetConnection().GetId()
	h.requests = append(h.requests, id)
	if h.during != nil {
		h.during()
	}
	h.has[id] = true
	return next.Server(ctx).Request(ctx, request)
}

func (h *hop) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	h.closes = append(h.closes, conn.GetId())
	delete(h.has, conn.GetId())
	return next.Server(ctx).Close(ctx, conn)
}

func newChain(t *testing.T, name string) (endpoint.Endpoint, *hop) {
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	h := &hop{has: map[string]bool{}}
	tokens := func(credentials.AuthInfo) (string, time.Time, error) { return "t", time.Now().Add(time.Hour), nil }
	return unheard.Wrap(name, pathid.Wrap(name, endpoint.NewServer(ctx, tokens, endpoint.WithName(name), endpoint.WithAdditionalFunctionality(h)))), h
}

// first is what a client sends that has had no answer yet.
func first(id string) *networkservice.Connection {
	return &networkservice.Connection{Id: id, Path: &networkservice.Path{PathSegments: []*networkservice.PathSegment{
		{Name: "agent", Id: id, Expires: timestamppb.New(time.Now().Add(time.Hour))},
	}}}
}

func request(conn *networkservice.Connection) *networkservice.NetworkServiceRequest {
	return &networkservice.NetworkServiceRequest{Connection: conn}
}

// Who never got an answer closes what was made, and meets it again.
func TestCloseWithoutAnswer(t *testing.T) {
	e, h := newChain(t, "forwarder")
	for range 2 {
		if _, err := e.Request(t.Context(), request(first("c"))); err != nil {
			t.Fatal(err)
		}
	}
	if len(h.has) != 1 || len(h.requests) != 2 {
		t.Errorf("has %v after requests %v", h.has, h.requests)
	}
	if _, err := e.Request(t.Context(), request(first("d"))); err != nil || len(h.has) != 2 {
		t.Errorf("has %v, %v", h.has, err)
	}
	for range 2 {
		if _, err := e.Close(t.Context(), first("c")); err != nil {
			t.Fatal(err)
		}
	}
	if len(h.has) != 1 || len(h.closes) != 1 {
		t.Errorf("has %v after closes %v", h.has, h.closes)
	}
	// Another hop has another ID for it.
	other, o := newChain(t, "nsmgr")
	if _, err := other.Request(t.Context(), request(first("c"))); err != nil || o.requests[0] == h.requests[0] {
		t.Errorf("both hops have %v, %v", o.requests, err)
	}
}

// What is made when the caller has gone is closed; a standing connection is not.
func TestCallerIsGone(t *testing.T) {
	e, h := newChain(t, "forwarder")
	ctx, cancel := context.WithCancel(t.Context())
	h.during = cancel
	if _, err := e.Request(ctx, request(first("c"))); status.Code(err) != codes.Canceled {
		t.Errorf("answer is %v", err)
	}
	if len(h.has) != 0 || len(h.closes) != 1 {
		t.Errorf("has %v after closes %v", h.has, h.closes)
	}
	h.during = nil
	conn, err := e.Request(t.Context(), request(first("c")))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	h.during = cancel
	if _, err := e.Request(ctx, request(conn)); err != nil || len(h.has) != 1 {
		t.Errorf("refreshed: %v, has %v", err, h.has)
	}
}

// nextHop is called by the client element.
type nextHop struct {
	err    error
	closes int
}

func (n *nextHop) Request(_ context.Context, request *networkservice.NetworkServiceRequest, _ ...grpc.CallOption) (*networkservice.Connection, error) {
	return request.GetConnection(), n.err
}

func (n *nextHop) Close(context.Context, *networkservice.Connection, ...grpc.CallOption) (*emptypb.Empty, error) {
	n.closes++
	return &emptypb.Empty{}, nil
}

func TestClientClosesWhatItIsNotSureOf(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		closes int
	}{
		"no answer in time": {status.Error(codes.DeadlineExceeded, "late"), 1},
		"given up":          {status.Error(codes.Canceled, "late"), 1},
		"refused":           {status.Error(codes.ResourceExhausted, "busy"), 0},
		"not reached":       {status.Error(codes.Unavailable, "down"), 0},
		"other":             {errors.New("other"), 0},
	} {
		t.Run(name, func(t *testing.T) {
			n := &nextHop{err: c.err}
			client := chain.NewNetworkServiceClient(updatepath.NewClient("nsmgr"), metadata.NewClient(), unheard.NewClient(), n)
			if _, err := client.Request(t.Context(), request(first("c"))); !errors.Is(err, c.err) {
				t.Errorf("error %v", err)
			}
			if n.closes != c.closes {
				t.Errorf("%d closes", n.closes)
			}
		})
	}
	n := &nextHop{}
	client := chain.NewNetworkServiceClient(updatepath.NewClient("nsmgr"), metadata.NewClient(), unheard.NewClient(), n)
	conn, err := client.Request(t.Context(), request(first("c")))
	if err != nil {
		t.Fatal(err)
	}
	n.err = status.Error(codes.DeadlineExceeded, "late")
	if _, err := client.Request(t.Context(), request(conn)); err == nil || n.closes != 0 {
		t.Errorf("a standing connection: %v, %d closes", err, n.closes)
	}
}
