// SPDX-License-Identifier: Apache-2.0

package frontendtest

import (
	"context"
	"slices"
	"sync"

	"github.com/weft-project/weft/internal/frontend"
)

// Fake is a frontend.Speaker whose state is what a test says.
type Fake struct {
	mu      sync.Mutex
	configs []frontend.Config
	status  frontend.Status
	changed chan struct{} // closed and replaced with every change
	closed  bool
	// Err, if not nil, is what the next Set returns; it changes nothing then.
	Err error
}

var _ frontend.Speaker = (*Fake)(nil)

// New returns a Fake with an empty state.
func New() *Fake { return &Fake{changed: make(chan struct{})} }

// Set implements frontend.Speaker.
func (f *Fake) Set(_ context.Context, config frontend.Config) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.Err; err != nil {
		f.Err = nil
		return err
	}
	if err := config.Validate(); err != nil {
		return err
	}
	f.configs = append(f.configs, config)
	return nil
}

// Configs returns what was set, in order.
func (f *Fake) Configs() []frontend.Config {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.configs)
}

// Tell makes the state what a test wants it to be.
func (f *Fake) Tell(status frontend.Status) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status = status
	close(f.changed)
	f.changed = make(chan struct{})
}

// Status implements frontend.Speaker.
func (f *Fake) Status() frontend.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

// Watch implements frontend.Speaker.
func (f *Fake) Watch(ctx context.Context, fn func(frontend.Status)) error {
	for {
		f.mu.Lock()
		status, changed := f.status, f.changed
		f.mu.Unlock()
		fn(status)
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Closed tells whether the frontend was closed.
func (f *Fake) Closed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closed
}

// Close implements frontend.Speaker.
func (f *Fake) Close(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return nil
}
