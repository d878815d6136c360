// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"log/slog"
	"time"

	"github.com/weft-project/weft/internal/frontend"
)

// DefaultLease is how long a frontend goes on without its endpoint.
const DefaultLease = 30 * time.Second

// Options say where a frontend works.
type Options struct {
	// NetNS is the path of the namespace; empty is the calling process's.
	NetNS string
	// Socket is the path of the process's control socket. It identifies the
	// frontend on the host: the next Start with the same one finds the process.
	Socket string
	// Lease is how long the process goes on after this one has vanished;
	// DefaultLease if 0.
	Lease time.Duration
	// Log is slog.Default() if nil. Secrets are never logged.
	Log *slog.Logger
}

// Process is a frontend in a process of its own, which is started again when it
// dies. It is a frontend.Speaker.
type Process struct {
	adopted frontend.Config
	found   bool
}

var _ frontend.Speaker = (*Process)(nil)

// Start finds the process that serves Options.Socket, and nothing of what it does
// changes, or starts one, which does nothing until Set. The lease is renewed
// until Detach or Close.
func Start(context.Context, Options) (*Process, error) { return nil, nil }

// Adopted returns what a process that Start has found is doing, before the first
// Set.
func (p *Process) Adopted() (frontend.Config, bool) { return p.adopted, p.found }

// Set implements frontend.Speaker.
func (p *Process) Set(context.Context, frontend.Config) error { return nil }

// Status implements frontend.Speaker.
func (p *Process) Status() frontend.Status { return frontend.Status{} }

// Watch implements frontend.Speaker.
func (p *Process) Watch(context.Context, func(frontend.Status)) error { return nil }

// Detach leaves the process alone: it goes on for the lease.
func (p *Process) Detach() error { return nil }

// Close implements frontend.Speaker: it ends the process, too.
func (p *Process) Close(context.Context) error { return nil }

// MaybeServe turns the process into a frontend's if Start has started it as such,
// and does not return then. Programs that use the package call it first in main,
// tests in TestMain.
func MaybeServe() {}
