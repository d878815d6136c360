// SPDX-License-Identifier: Apache-2.0

package endpoint_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weft-project/weft/internal/app/endpoint"
	"github.com/weft-project/weft/internal/balancer"
	"github.com/weft-project/weft/internal/testutil"
)

const conduitManifest = `
apiVersion: weft.dev/v1alpha1
kind: Trench
metadata: {name: trench-a}
spec: {ip-family: dualstack}
---
apiVersion: weft.dev/v1alpha1
kind: Conduit
metadata: {name: lb, labels: {trench: trench-a}}
spec: {type: stateless-lb}
---
apiVersion: weft.dev/v1alpha1
kind: Stream
metadata: {name: web, labels: {trench: trench-a}}
spec: {conduit: lb}
`

const secondStream = `
apiVersion: weft.dev/v1alpha1
kind: Stream
metadata: {name: sip, labels: {trench: trench-a}}
spec: {conduit: lb, max-targets: 7}
`

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// lockedBuffer is a log that the test reads while others write.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func streams(c balancer.Config) []string {
	var names []string
	for _, s := range c.Streams {
		names = append(names, s.Name)
	}
	slices.Sort(names)
	return names
}

func TestResourcesFollow(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	dir, text := t.TempDir(), &lockedBuffer{}
	write(t, filepath.Join(dir, "a.yaml"), conduitManifest)
	r, err := endpoint.OpenResources(dir, "trench-a", "lb", slog.New(slog.NewTextHandler(text, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if c, err := r.Balance(); err != nil || !slices.Equal(streams(c), []string{"web"}) {
		t.Fatalf("%v, %v", c, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	reload, inForce, done := make(chan os.Signal, 1), make(chan balancer.Config, 10), make(chan struct{})
	go func() {
		defer close(done)
		r.Follow(ctx, reload, func(_ context.Context, c balancer.Config) error {
			inForce <- c
			return nil
		})
	}()
	want := func(names ...string) {
		t.Helper()
		select {
		case c := <-inForce:
			if got := streams(c); !slices.Equal(got, names) {
				t.Fatalf("in force: %v, want %v", got, names)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%v are not in force", names)
		}
	}
	want("web")
	// A file more is seen by itself.
	write(t, filepath.Join(dir, "b.yml"), secondStream)
	want("sip", "web")
	// A bad file changes nothing and is reported, with its name.
	write(t, filepath.Join(dir, "b.yml"), "nonsense: [")
	reload <- syscall.SIGHUP
	testutil.Eventually(t, 20*time.Second, "the bad file is reported", func() bool { return strings.Contains(text.String(), "b.yml") })
	if c, err := r.Balance(); err != nil || !slices.Equal(streams(c), []string{"sip", "web"}) {
		t.Errorf("after a bad file: %v, %v", c, err)
	}
	if err := os.Remove(filepath.Join(dir, "b.yml")); err != nil {
		t.Fatal(err)
	}
	reload <- syscall.SIGHUP
	want("web")
	cancel()
	<-done
}

func TestResourcesRefused(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "bad.yaml"), "kind: Nothing")
	empty := t.TempDir()
	for _, path := range []string{filepath.Join(dir, "missing"), dir, filepath.Join(dir, "bad.yaml"), empty} {
		if _, err := endpoint.OpenResources(path, "trench-a", "lb", slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%s is accepted", path)
		}
	}
}

func TestOtherConduit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.yaml")
	write(t, path, conduitManifest)
	r, err := endpoint.OpenResources(path, "trench-b", "lb", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if c, err := r.Balance(); err != nil || len(c.Streams) != 0 {
		t.Errorf("%v, %v", c, err)
	}
}
