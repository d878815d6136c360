// SPDX-License-Identifier: Apache-2.0

package orphan_test

import (
	"context"
	"errors"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/chains/endpoint"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"go.uber.org/goleak"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weft-project/weft/internal/log"
	"github.com/weft-project/weft/pkg/networkservice/isolate"
	"github.com/weft-project/weft/pkg/networkservice/orphan"
)

func TestMain(m *testing.M) {
	log.Setup(os.Stderr, log.LevelWarn)
	goleak.VerifyTestMain(m)
}

// counter is what stands behind a chain.
type counter struct {
	closes   []string
	err      error
	during   func() // a Request
	requests int
}

func (c *counter) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	c.requests++
	if c.during != nil {
		c.during()
	}
	if c.err != nil {
		return nil, c.err
	}
	return next.Server(ctx).Request(ctx, request)
}

func (c *counter) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	c.closes = append(c.closes, conn.GetId())
	return next.Server(ctx).Close(ctx, conn)
}

func newChain(t *testing.T) (chain endpoint.Endpoint, inside, orphans *counter) {
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	inside, orphans = &counter{}, &counter{}
	o := orphan.New("forwarder", orphans)
	tokens := func(credentials.AuthInfo) (string, time.Time, error) { return "t", time.Now().Add(time.Hour), nil }
	return o.Wrap(endpoint.NewServer(ctx, tokens, endpoint.WithName("forwarder"),
		endpoint.WithAdditionalFunctionality(isolate.NewServer(), o.NewServer(), inside))), inside, orphans
}

// passed is a connection of a client that has passed the forwarder before.
func passed() *networkservice.Connection {
	expires := timestamppb.New(time.Now().Add(time.Hour))
	return &networkservice.Connection{Id: "c", Path: &networkservice.Path{PathSegments: []*networkservice.PathSegment{
		{Name: "agent", Id: "c", Expires: expires}, {Name: "forwarder", Id: "f", Expires: expires},
	}}}
}

func TestOrphanIsClosed(t *testing.T) {
	chain, inside, orphans := newChain(t)
	for range 2 {
		if _, err := chain.Close(t.Context(), passed()); err != nil {
			t.Fatal(err)
		}
	}
	if len(inside.closes) != 0 || len(orphans.closes) != 2 || orphans.closes[0] != "f" {
		t.Errorf("inside %v, orphans %v", inside.closes, orphans.closes)
	}
}

func TestKnownIsClosedByTheChain(t *testing.T) {
	chain, inside, orphans := newChain(t)
	request := &networkservice.NetworkServiceRequest{Connection: passed()}
	// While it is being made, it is no orphan.
	closed := make(chan error, 1)
	inside.during = func() {
		go func() {
			_, err := chain.Close(context.Background(), passed())
			closed <- err
		}()
		runtime.Gosched()
	}
	if _, err := chain.Request(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	if err := <-closed; err != nil || len(inside.closes)+len(orphans.closes) != 1 {
		t.Fatalf("inside %v, orphans %v, %v", inside.closes, orphans.closes, err)
	}
	inside.during, inside.closes, orphans.closes = nil, nil, nil
	if _, err := chain.Request(t.Context(), &networkservice.NetworkServiceRequest{Connection: passed()}); err != nil {
		t.Fatal(err)
	}
	if _, err := chain.Close(t.Context(), passed()); err != nil || len(inside.closes) != 1 || len(orphans.closes) != 0 {
		t.Errorf("inside %v, orphans %v, %v", inside.closes, orphans.closes, err)
	}
	if _, err := chain.Close(t.Context(), passed()); err != nil || len(inside.closes) != 1 || len(orphans.closes) != 1 {
		t.Errorf("after it was closed: inside %v, orphans %v, %v", inside.closes, orphans.closes, err)
	}
}

func TestFailedRequestLeavesAnOrphan(t *testing.T) {
	chain, inside, orphans := newChain(t)
	inside.err = errors.New("no")
	if _, err := chain.Request(t.Context(), &networkservice.NetworkServiceRequest{Connection: passed()}); err == nil {
		t.Fatal("no error")
	}
	if _, err := chain.Close(t.Context(), passed()); err != nil || len(orphans.closes) != 1 {
		t.Errorf("%v, %v", orphans.closes, err)
	}
}

// A connection that never passed is nobody's.
func TestStranger(t *testing.T) {
	chain, inside, orphans := newChain(t)
	conn := passed()
	conn.Path.PathSegments = conn.Path.PathSegments[:1]
	if _, err := chain.Close(t.Context(), conn); err != nil || len(inside.closes)+len(orphans.closes) != 0 {
		t.Errorf("%v, %v, %v", inside.closes, orphans.closes, err)
	}
}
