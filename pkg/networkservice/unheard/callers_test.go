// SPDX-License-Identifier: Apache-2.0

package unheard_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weft-project/weft/pkg/networkservice/unheard"
)

// slow is a chain that makes connections one after the other.
type slow struct {
	turn            chan struct{}
	takes, closing  time.Duration
	made            atomic.Bool
	requests, ended atomic.Int32
}

func (s *slow) Request(_ context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	s.requests.Add(1)
	time.Sleep(s.takes)
	s.made.Store(true)
	return request.GetConnection(), nil
}

func (s *slow) Close(context.Context, *networkservice.Connection) (*emptypb.Empty, error) {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	time.Sleep(s.closing)
	s.ended.Add(1)
	s.made.Store(false)
	return &emptypb.Empty{}, nil
}

func (s *slow) MonitorConnections(*networkservice.MonitorScopeSelector, networkservice.MonitorConnection_MonitorConnectionsServer) error {
	return nil
}

func freshRequest() *networkservice.NetworkServiceRequest {
	return &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{
		Id: "a", Path: &networkservice.Path{PathSegments: []*networkservice.PathSegment{{Name: "client", Id: "a"}}},
	}}
}

type plainChain struct{ *slow }

func (plainChain) Register(*grpc.Server) {}

// TestAskedAgain: what nobody waits for is closed, but never under one that asks
// for it again, before or during the Close.
func TestAskedAgainMeanwhile(t *testing.T) {
	for name, test := range map[string]struct {
		again time.Duration // after the first Request; 0: never
		ended int32
		made  bool
	}{
		"nobody asks again": {0, 1, false}, "asked again before": {2 * time.Second, 0, true}, "asked again during the close": {5500 * time.Millisecond, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &slow{turn: make(chan struct{}, 1), takes: 5 * time.Second, closing: time.Second}
				chain := unheard.Wrap("server", plainChain{s})
				go func() {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					if _, err := chain.Request(ctx, freshRequest()); err == nil {
						t.Error("an answer that came too late is none")
					}
				}()
				if test.again > 0 {
					time.Sleep(test.again)
					if _, err := chain.Request(t.Context(), freshRequest()); err != nil {
						t.Error(err)
					}
				}
				time.Sleep(time.Minute)
				if s.ended.Load() != test.ended || s.made.Load() != test.made {
					t.Errorf("closed %d times, there %t", s.ended.Load(), s.made.Load())
				}
			})
		})
	}
}
