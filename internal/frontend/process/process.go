// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weft-project/weft/internal/frontend"
	"github.com/weft-project/weft/internal/selfexec"
	frontendv1 "github.com/weft-project/weft/pkg/api/frontend/v1"
)

// DefaultLease is how long a frontend goes on without its endpoint.
const DefaultLease = 30 * time.Second

const (
	maxSocketPath = 107 - len(".lock")
	// callLimit bounds a call; firstPause and lastPause the pauses between attempts
	// to start a process.
	callLimit  = 10 * time.Second
	firstPause = 50 * time.Millisecond
	lastPause  = 5 * time.Second
)

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
	// build of the program, if not this one's; for tests of upgrades
	build string
}

// Process is a frontend in a process of its own, which is started again when it
// dies. It is a frontend.Speaker.
type Process struct {
	options Options
	adopted frontend.Config
	found   bool
	cancel  context.CancelFunc
	group   sync.WaitGroup

	mu      sync.Mutex
	config  *frontend.Config // to be in force; nil: none yet
	link    *link            // nil while the process is not there
	status  frontend.Status
	changed chan struct{} // closed and replaced with every change of link or status
	closed  bool
}

// link is the way to a running process.
type link struct {
	process *selfexec.Process
	conn    *grpc.ClientConn
	frontendv1.SpeakerClient
}

func (l *link) close() {
	_ = l.conn.Close()
	l.process.Detach()
}

var _ frontend.Speaker = (*Process)(nil)

// Start finds the process that serves Options.Socket, and nothing of what it does
// changes, or starts one, which does nothing until Set. The lease is renewed
// until Detach or Close.
func Start(ctx context.Context, options Options) (*Process, error) {
	options, err := options.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("start frontend: %w", err)
	}
	p := &Process{options: options, changed: make(chan struct{})}
	l, err := p.connect(ctx, false)
	if err != nil {
		return nil, fmt.Errorf("start frontend: %w", err)
	}
	p.link = l
	running, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	p.group.Go(func() { p.supervise(running, l) })
	return p, nil
}

func (o Options) withDefaults() (_ Options, err error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Lease == 0 {
		o.Lease = DefaultLease
	}
	if o.Lease < 0 {
		return o, fmt.Errorf("lease: %v is negative", o.Lease)
	}
	if o.Socket, err = filepath.Abs(o.Socket); err != nil {
		return o, fmt.Errorf("socket: %w", err)
	}
	if len(o.Socket) > maxSocketPath {
		return o, fmt.Errorf("socket: %s has more than %d bytes", o.Socket, maxSocketPath)
	}
	if o.NetNS == "" {
		o.NetNS = "/proc/self/ns/net" // threads of this process may be elsewhere for a while
	}
	if o.build == "" {
		o.build, err = thisBuild()
	}
	return o, err
}

// Adopted returns what a process that Start has found is doing, before the first
// Set.
func (p *Process) Adopted() (frontend.Config, bool) { return p.adopted, p.found }

// Pid returns the number of the process, 0 while there is none.
func (p *Process) Pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.link == nil {
		return 0
	}
	return p.link.process.Pid()
}

// Set implements frontend.Speaker. While the process is being started again it
// waits.
func (p *Process) Set(ctx context.Context, config frontend.Config) error {
	if err := config.Validate(); err != nil {
		return err
	}
	p.mu.Lock()
	p.config = &config
	p.mu.Unlock()
	for {
		p.mu.Lock()
		l, changed, closed := p.link, p.changed, p.closed
		p.mu.Unlock()
		if closed {
			return errors.New("set frontend: closed")
		}
		if l != nil {
			err := p.apply(ctx, l, config)
			if status.Code(err) != codes.Unavailable && status.Code(err) != codes.Canceled {
				return err
			}
		}
		select {
		case <-changed:
		case <-time.After(firstPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Status implements frontend.Speaker.
func (p *Process) Status() frontend.Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status
}

// Watch implements frontend.Speaker.
func (p *Process) Watch(ctx context.Context, fn func(frontend.Status)) error {
	for {
		p.mu.Lock()
		s, changed, closed := p.status, p.changed, p.closed
		p.mu.Unlock()
		if closed {
			return errors.New("watch frontend: closed")
		}
		fn(s)
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Detach leaves the process alone: it goes on for the lease.
func (p *Process) Detach() error {
	if l := p.stop(); l != nil {
		l.close()
	}
	return nil
}

// Close implements frontend.Speaker: it ends the process, too.
func (p *Process) Close(context.Context) error {
	if l := p.stop(); l != nil {
		return p.replace(l, false)
	}
	return nil
}

// stop ends the supervision.
func (p *Process) stop() *link {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	p.changedNow()
	p.mu.Unlock()
	p.cancel()
	p.group.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.link
	p.link = nil
	return l
}
