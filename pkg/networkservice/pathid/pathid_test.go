// SPDX-License-Identifier: Apache-2.0

package pathid_test

import (
	"context"
	"testing"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/chains/endpoint"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"go.uber.org/goleak"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weft-project/weft/pkg/networkservice/isolate"
	"github.com/weft-project/weft/pkg/networkservice/pathid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// seen notes the ids that pass.
type seen struct{ requested, closed []string }

func (s *seen) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	s.requested = append(s.requested, request.GetConnection().GetId())
	return next.Server(ctx).Request(ctx, request)
}

func (s *seen) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	s.closed = append(s.closed, conn.GetId())
	return next.Server(ctx).Close(ctx, conn)
}

func newChain(t *testing.T, name string) (networkservice.NetworkServiceServer, *seen) {
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	s := &seen{}
	tokens := func(credentials.AuthInfo) (string, time.Time, error) { return "t", time.Now().Add(time.Hour), nil }
	return pathid.Wrap(name, endpoint.NewServer(ctx, tokens, endpoint.WithName(name),
		endpoint.WithAdditionalFunctionality(isolate.NewServer(), s))), s
}

func fresh(id string, behind ...*networkservice.PathSegment) *networkservice.Connection {
	first := &networkservice.PathSegment{Name: "client", Id: id, Expires: timestamppb.New(time.Now().Add(time.Hour))}
	return &networkservice.Connection{Id: id, Path: &networkservice.Path{PathSegments: append([]*networkservice.PathSegment{first}, behind...)}}
}

func request(t *testing.T, chain networkservice.NetworkServiceServer, conn *networkservice.Connection) *networkservice.Connection {
	t.Helper()
	answer, err := chain.Request(t.Context(), &networkservice.NetworkServiceRequest{Connection: conn})
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// TestAskedAgain: a client that has not got the answer asks for, and closes, what
// it had begun; another one has something else.
func TestAskedAgain(t *testing.T) {
	chain, s := newChain(t, "server")
	conn := fresh("a")
	request(t, chain, conn)
	if n := len(conn.GetPath().GetPathSegments()); n != 1 {
		t.Errorf("the caller's path has %d segments", n)
	}
	request(t, chain, fresh("a"))
	request(t, chain, fresh("b"))
	if s.requested[0] != s.requested[1] || s.requested[0] == s.requested[2] || s.requested[0] == "a" {
		t.Errorf("ids %v", s.requested)
	}
	if _, err := chain.Close(t.Context(), fresh("a")); err != nil || len(s.closed) != 1 || s.closed[0] != s.requested[0] {
		t.Errorf("closed %v, %v", s.closed, err)
	}
	if _, other := newChain(t, "other"); len(other.requested) != 0 {
		t.Error("another chain was asked")
	}
}

// TestKeepsWhatThereIs: what the path has of this chain stays; what it has of
// another, whose place this one takes, does not.
func TestKeepsWhatThereIs(t *testing.T) {
	chain, s := newChain(t, "server")
	expires := timestamppb.New(time.Now().Add(time.Hour))
	request(t, chain, fresh("a", &networkservice.PathSegment{Name: "server", Id: "mine", Expires: expires}))
	request(t, chain, fresh("b", &networkservice.PathSegment{Name: "former", Id: "f", Expires: expires}))
	request(t, chain, fresh("b"))
	if s.requested[0] != "mine" || s.requested[1] == "f" || s.requested[1] != s.requested[2] {
		t.Errorf("ids %v", s.requested)
	}
}

// TestNoPath: a connection without a path is the chain's own.
func TestNoPath(t *testing.T) {
	chain, s := newChain(t, "server")
	if _, err := chain.Close(t.Context(), &networkservice.Connection{Id: "a"}); err != nil || len(s.closed) != 0 {
		t.Errorf("%v, %v", s.closed, err)
	}
}
