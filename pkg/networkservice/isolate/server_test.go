// SPDX-License-Identifier: Apache-2.0

package isolate_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"weak"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/begin"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/updatepath"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weft-project/weft/pkg/networkservice/isolate"
)

// last answers with the very connection of the request, or fails.
type last struct {
	err    error
	closed int
}

func (l *last) Request(_ context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	if l.err != nil {
		return nil, l.err
	}
	return request.GetConnection(), nil
}

func (l *last) Close(context.Context, *networkservice.Connection) (*emptypb.Empty, error) {
	l.closed++
	return &emptypb.Empty{}, l.err
}

func fresh() *networkservice.NetworkServiceRequest {
	return &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{
		Id: "client", Path: &networkservice.Path{PathSegments: []*networkservice.PathSegment{{Name: "client", Id: "client"}}},
	}}
}

// TestClosedConnectionIsForgotten fails without the element: the request stays
// reachable through begin.
func TestClosedConnectionIsForgotten(t *testing.T) {
	end := &last{}
	server := chain.NewNetworkServiceServer(updatepath.NewServer("server"), begin.NewServer(), isolate.NewServer(), end)
	remembered := func() weak.Pointer[networkservice.NetworkServiceRequest] {
		request := fresh()
		conn, err := server.Request(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		if conn.GetId() != "client" {
			t.Errorf("answer has id %q", conn.GetId())
		}
		if _, err := server.Request(t.Context(), &networkservice.NetworkServiceRequest{Connection: conn.Clone()}); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := server.Close(t.Context(), conn.Clone()); err != nil {
				t.Fatal(err)
			}
		}
		return weak.Make(request)
	}()
	if end.closed != 1 {
		t.Errorf("closed %d times", end.closed)
	}
	runtime.GC()
	runtime.GC()
	if remembered.Value() != nil {
		t.Error("the request of a closed connection is still remembered")
	}
	runtime.KeepAlive(server)
}

func TestErrorPasses(t *testing.T) {
	broken := errors.New("broken")
	server := chain.NewNetworkServiceServer(isolate.NewServer(), &last{err: broken})
	if conn, err := server.Request(t.Context(), fresh()); !errors.Is(err, broken) || conn != nil {
		t.Errorf("request: %v, %v", conn, err)
	}
	if _, err := server.Close(t.Context(), fresh().GetConnection()); !errors.Is(err, broken) {
		t.Errorf("close: %v", err)
	}
}
