// SPDX-License-Identifier: Apache-2.0

package hopwatch_test

import (
	"context"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/clientconn"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"github.com/networkservicemesh/sdk/pkg/tools/clienturlctx"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weft-project/weft/internal/log"
	"github.com/weft-project/weft/pkg/networkservice/dial"
	"github.com/weft-project/weft/pkg/networkservice/hopwatch"
)

const patience = 20 * time.Second

func TestMain(m *testing.M) {
	log.Setup(os.Stderr, log.LevelWarn)
	goleak.VerifyTestMain(m)
}

// connected stands for the client chain: it dials.
type connected struct{ pool *dial.Pool }

func (c *connected) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	if _, ok := clientconn.Load(ctx); !ok {
		conn, err := c.pool.Get(ctx, clienturlctx.ClientURL(ctx))
		if err != nil {
			return nil, err
		}
		clientconn.Store(ctx, conn)
	}
	return next.Server(ctx).Request(ctx, request)
}

func (c *connected) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	return next.Server(ctx).Close(ctx, conn)
}

type fixture struct {
	t      *testing.T
	url    *url.URL
	server networkservice.NetworkServiceServer
	ended  chan string
}

func newFixture(t *testing.T, grace time.Duration) *fixture {
	f := &fixture{t: t, url: &url.URL{Scheme: "unix", Path: filepath.Join(t.TempDir(), "nse.sock")}, ended: make(chan string, 9)}
	ctx, cancel := context.WithCancel(context.Background())
	pool := dial.NewPool(dial.WithDialOptions(grpc.WithTransportCredentials(insecure.NewCredentials())))
	t.Cleanup(func() { cancel(); pool.Close() })
	f.server = chain.NewNetworkServiceServer(metadata.NewServer(),
		hopwatch.NewServer(ctx, func(_ context.Context, id string) { f.ended <- id },
			func(context.Context, *networkservice.Connection) time.Duration { return grace }),
		&connected{pool})
	return f
}

func (f *fixture) endpoint() (stop func()) {
	f.t.Helper()
	l, err := net.Listen("unix", f.url.Path)
	if err != nil {
		f.t.Fatal(err)
	}
	s := grpc.NewServer()
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	return func() { s.Stop(); <-done }
}

func (f *fixture) request() {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(clienturlctx.WithClientURL(f.t.Context(), f.url), patience)
	defer cancel()
	if _, err := f.server.Request(ctx, &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{Id: "a"}}); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) wait() {
	f.t.Helper()
	select {
	case id := <-f.ended:
		if id != "a" {
			f.t.Errorf("connection %s", id)
		}
	case <-time.After(patience):
		f.t.Fatal("not noticed")
	}
}

func TestEnd(t *testing.T) {
	f := newFixture(t, 0)
	stop := f.endpoint()
	f.request()
	f.request()
	stop()
	f.wait()
	// It comes back, and ends again.
	stop = f.endpoint()
	f.request()
	stop()
	f.wait()
	if len(f.ended) != 0 {
		t.Error("told more than once")
	}
}

func TestGrace(t *testing.T) {
	f := newFixture(t, time.Hour)
	stop := f.endpoint()
	f.request()
	stop()
	stop = f.endpoint()
	defer stop()
	f.request()
	if len(f.ended) != 0 {
		t.Error("a restart counts as an end")
	}
}

func TestCloseEndsTheWatch(t *testing.T) {
	f := newFixture(t, 0)
	stop := f.endpoint()
	f.request()
	for range 2 {
		if _, err := f.server.Close(t.Context(), &networkservice.Connection{Id: "a"}); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	// Another connection notices, this one does not.
	if len(f.ended) != 0 {
		t.Error("told of a closed connection")
	}
}
