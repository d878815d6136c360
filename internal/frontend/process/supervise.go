// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weft-project/weft/internal/frontend"
	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/selfexec"
	frontendv1 "github.com/weft-project/weft/pkg/api/frontend/v1"
)

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
