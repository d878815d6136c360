// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/pkg/networkservice/chains/client"
)

// follow collects what Endpoints says.
func follow(t *testing.T, c *client.Client, known ...string) (next func() []string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	said, done := make(chan []string, 64), make(chan struct{})
	go func() {
		defer close(done)
		c.Endpoints(ctx, "lb.trench-a", known, func(names []string) { said <- slices.Clone(names) })
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return func() []string {
		t.Helper()
		select {
		case names := <-said:
			return names
		case <-within(t).Done():
			t.Fatal("nothing was said")
			return nil
		}
	}
}

func wantNames(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("endpoints are %v, want %v", got, want)
	}
}

func TestEndpointsComeAndGo(t *testing.T) {
	testutil.CheckLeaks(t)
	f := newFakeNSMgr()
	next := follow(t, start(t, f, time.Hour))
	wantNames(t, next())
	f.change("lb-2", true)
	wantNames(t, next(), "lb-2")
	f.change("lb-1", true)
	wantNames(t, next(), "lb-1", "lb-2")
	f.change("lb-1", true) // refreshed: no news
	f.change("lb-2", false)
	wantNames(t, next(), "lb-1")
}

func TestEndpointsMissingAfterARestartStayForAWhile(t *testing.T) {
	testutil.CheckLeaks(t)
	f := newFakeNSMgr("lb-1", "lb-2")
	next := follow(t, start(t, f, 2*time.Second))
	wantNames(t, next(), "lb-1", "lb-2")
	<-f.watching
	f.restart("lb-3") // it has forgotten the others
	wantNames(t, next(), "lb-1", "lb-2", "lb-3")
	f.change("lb-1", true)
	wantNames(t, next(), "lb-1", "lb-3") // lb-2 did not come back
}

// TestEndpointGoneBeforeTheWatchStood: the list had it, the watch never tells
// of it.
func TestEndpointGoneBeforeTheWatchStood(t *testing.T) {
	testutil.CheckLeaks(t)
	f := newFakeNSMgr("lb-1", "lb-2")
	next := follow(t, start(t, f, 100*time.Millisecond))
	wantNames(t, next(), "lb-1", "lb-2")
	f.mu.Lock()
	delete(f.listed, "lb-2")
	f.mu.Unlock()
	wantNames(t, next(), "lb-1")
}

func TestEndpointsKnownFromBeforeStayForAWhile(t *testing.T) {
	testutil.CheckLeaks(t)
	next := follow(t, start(t, newFakeNSMgr("lb-1"), 300*time.Millisecond), "lb-0", "lb-1")
	wantNames(t, next(), "lb-0", "lb-1")
	wantNames(t, next(), "lb-1")
}
