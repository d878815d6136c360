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
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weft-project/weft/internal/frontend"
	"github.com/weft-project/weft/internal/netns"
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

// connect returns the way to the process, which it starts if need be. With
// restarting, gateways may have the routes of one that has died.
func (p *Process) connect(ctx context.Context, restarting bool) (*link, error) {
	var take *frontendv1.Config // of a process that is replaced
	if found, err := selfexec.Attach(p.options.Socket); err == nil {
		l, err := open(found, p.options.Socket)
		if err != nil {
			return nil, err
		}
		keep, config, err := p.inspect(ctx, l)
		if keep {
			return l, err
		}
		take, restarting = config, restarting || config != nil
		if err := p.replace(l, config != nil); err != nil {
			return nil, err
		}
	}
	started, err := selfexec.Start(selfexec.Spec{
		Name: "weft-frontend", Title: p.options.Socket, Env: serveEnv, NetNS: p.options.NetNS, Socket: p.options.Socket,
		Config: serveConfig{Socket: p.options.Socket, Lease: p.options.Lease, Restarting: restarting},
	})
	if err != nil {
		return nil, err
	}
	l, err := open(started, p.options.Socket)
	if err != nil {
		return nil, err
	}
	if take == nil {
		return l, nil
	}
	if _, err := l.Apply(ctx, &frontendv1.ApplyRequest{Config: take, Lease: durationpb.New(p.options.Lease)}); err != nil {
		p.options.Log.Warn("configuration of the frontend before can not be taken over", "err", err)
	}
	return l, nil
}

func open(process *selfexec.Process, socket string) (*link, error) {
	process.Unwatch()
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)))
	if err != nil {
		process.Detach()
		return nil, err
	}
	return &link{process: process, conn: conn, SpeakerClient: frontendv1.NewSpeakerClient(conn)}, nil
}

// inspect says whether a process that was found is to stay. One that is not, but
// of another build, returns the config that the next one is to take over.
func (p *Process) inspect(ctx context.Context, l *link) (keep bool, _ *frontendv1.Config, _ error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	is, err := l.Get(ctx, &frontendv1.GetRequest{})
	if err != nil {
		p.options.Log.Warn("a frontend's process does not answer and is ended", "socket", p.options.Socket, "err", err)
		return false, nil, nil
	}
	here, err := netns.Inode(p.options.NetNS)
	if err != nil {
		l.close()
		return true, nil, err
	}
	if is.GetNetworkNamespace() != here {
		p.options.Log.Warn("a frontend's process is in another namespace and is ended", "socket", p.options.Socket)
		return false, nil, nil
	}
	config, err := fromConfig(is.GetConfig())
	if err != nil {
		return false, nil, nil
	}
	if is.GetConfig() != nil && p.config == nil {
		p.adopted, p.found = config, true
		p.config = &config
	}
	if is.GetBuild() != p.options.build {
		p.options.Log.Info("a frontend's process of another version is replaced", "socket", p.options.Socket)
		return false, is.GetConfig(), nil
	}
	p.status, _ = fromStatus(is.GetStatus())
	return true, nil, nil
}

// replace ends a process, without a word to the gateways if another one goes on.
func (p *Process) replace(l *link, restarting bool) error {
	defer func() { _ = l.conn.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	if _, err := l.End(ctx, &frontendv1.EndRequest{Restarting: restarting}); err == nil && l.process.Gone(callLimit) {
		l.process.Detach()
		return nil
	}
	return l.process.End()
}

// supervise follows the process and starts it again when it has ended.
func (p *Process) supervise(ctx context.Context, l *link) {
	pause := firstPause
	for {
		if l != nil {
			if p.follow(ctx, l) {
				pause = firstPause
			}
			p.lose(l)
		}
		if ctx.Err() != nil {
			return
		}
		next, err := p.connect(ctx, true)
		if err == nil {
			err = p.resume(ctx, next)
		}
		if err == nil {
			l = next
			continue
		}
		l = nil
		p.tell(frontend.Status{Problem: fmt.Sprintf("the frontend's process does not run: %v", err)})
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
			pause = min(2*pause, lastPause)
		}
	}
}

// follow takes the process's status until it ends and says whether there was any.
func (p *Process) follow(ctx context.Context, l *link) (any bool) {
	stream, err := l.Watch(ctx, &frontendv1.WatchRequest{Lease: durationpb.New(p.options.Lease)})
	if err != nil {
		return false
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			return any
		}
		s, err := fromStatus(m)
		if err != nil {
			s = frontend.Status{Problem: fmt.Sprintf("the frontend's process is not understood: %v", err)}
		}
		any = true
		p.tell(s)
	}
}

// lose notes that the process is not there.
func (p *Process) lose(l *link) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.link = nil
	p.mu.Unlock()
	l.process.Gone(0) // reaps it
	l.close()
}

// resume gives a new process what is to be in force.
func (p *Process) resume(ctx context.Context, l *link) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.config != nil {
		ctx, cancel := context.WithTimeout(ctx, callLimit)
		defer cancel()
		if err := p.apply(ctx, l, *p.config); err != nil {
			l.close()
			return err
		}
	}
	p.link = l
	p.changedNow()
	return nil
}

func (p *Process) apply(ctx context.Context, l *link, config frontend.Config) error {
	_, err := l.Apply(ctx, &frontendv1.ApplyRequest{Config: toConfig(config), Lease: durationpb.New(p.options.Lease)})
	return err
}

func (p *Process) tell(s frontend.Status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status = s
	p.changedNow()
}

// changedNow wakes who waits. The caller holds mu.
func (p *Process) changedNow() {
	close(p.changed)
	p.changed = make(chan struct{})
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
