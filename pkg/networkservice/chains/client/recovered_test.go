// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"context"
	"net"
	"net/url"
	"path/filepath"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/pkg/networkservice/chains/client"
)

// TestRecovered: nobody calls the nsmgr, and its return is noticed.
func TestRecovered(t *testing.T) {
	testutil.CheckLeaks(t)
	path := filepath.Join(t.TempDir(), "nsmgr.sock")
	serve := func() (stop func()) {
		listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
		if err != nil {
			t.Fatal(err)
		}
		server, done := grpc.NewServer(), make(chan error, 1)
		go func() { done <- server.Serve(listener) }()
		return func() {
			server.Stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	c, err := client.New(client.Options{
		Name: "agent", ConnectTo: &url.URL{Scheme: "unix", Path: path},
		DialOptions: []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	said, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		c.Recovered(ctx, func() {
			select {
			case said <- struct{}{}:
			case <-ctx.Done():
			}
		})
	}()
	for range 3 {
		stop := serve()
		select {
		case <-said:
		case <-within(t).Done():
			t.Error("nothing was said")
		}
		stop()
	}
	cancel()
	<-ended
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
}
