// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"

	"github.com/weft-project/weft/internal/attachment"
	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/workload"
	ambassadorv1 "github.com/weft-project/weft/pkg/api/ambassador/v1"
)

// silence is a world in which the only endpoint never answers.
type silence struct{}

func (silence) Endpoints(ctx context.Context, _ string, _ []string, changed func([]string)) {
	changed([]string{"lb-1"})
	<-ctx.Done()
}

func (silence) Request(ctx context.Context, _ attachment.Request) (attachment.Connection, error) {
	<-ctx.Done()
	return attachment.Connection{}, ctx.Err()
}

func (silence) Close(context.Context, attachment.Request) error { return nil }

func (silence) Monitor(ctx context.Context, _ attachment.Connection) error {
	<-ctx.Done()
	return ctx.Err()
}

func (silence) Recovered(ctx context.Context, _ func()) { <-ctx.Done() }

func (silence) Watch(netns.ID, string) error { return nil }
func (silence) Unwatch(netns.ID)             {}
func (silence) Path(netns.ID) string         { return "/x" }

func (silence) Interface(string, string) (attachment.Interface, error) {
	return attachment.Interface{}, &attachment.Error{Kind: attachment.NotFound}
}

// watcher is the server's end of a Watch.
type watcher struct {
	grpc.ServerStream
	ctx  context.Context
	said chan *ambassadorv1.StreamResponse
}

func (w *watcher) Context() context.Context { return w.ctx }

func (w *watcher) Send(response *ambassadorv1.StreamResponse) error {
	w.said <- response
	return nil
}

func TestPendingEndsAfterFifteenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, err := attachment.NewFiles(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		manager, err := attachment.New(context.Background(), attachment.Options{
			Mesh: silence{}, Namespaces: silence{}, Interfaces: silence{}, Store: store, Node: "n",
			Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		defer manager.Stop()
		service := &tap{manager: manager}
		ctx, cancel := context.WithCancel(peer.NewContext(context.Background(), &peer.Peer{AuthInfo: workload.Peer{NetNS: netns.ID{Cookie: 1}}}))
		defer cancel()
		began := time.Now()
		if _, err := service.Open(ctx, &ambassadorv1.Stream{Name: "web", Conduit: &ambassadorv1.Conduit{
			Name: "lb", Trench: &ambassadorv1.Trench{Name: "trench-a"},
		}}); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(began); waited != 0 {
			t.Errorf("Open returned after %v, want at once", waited)
		}
		out := &watcher{ctx: ctx, said: make(chan *ambassadorv1.StreamResponse, 16)}
		done := make(chan error, 1)
		go func() { done <- service.Watch(&ambassadorv1.Stream{}, out) }()
		for _, want := range []ambassadorv1.StreamStatus_Status{ambassadorv1.StreamStatus_PENDING, ambassadorv1.StreamStatus_UNAVAILABLE} {
			if got := (<-out.said).GetStreamStatus()[0].GetStatus(); got != want {
				t.Errorf("status is %v, want %v", got, want)
			}
		}
		if waited := time.Since(began); waited != maxPending {
			t.Errorf("pending for %v, want %v", waited, maxPending)
		}
		cancel()
		if err := <-done; errors.Is(err, context.Canceled) || err == nil {
			t.Errorf("Watch ended with %v, want a gRPC status", err)
		}
	})
}
