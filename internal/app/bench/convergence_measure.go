// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/weft-project/weft/internal/cluster"
	"github.com/weft-project/weft/internal/selfexec"
)

// convergenceReport is what `weft bench convergence` found.
type convergenceReport struct {
	Options convergenceOptions `json:"options"`
	// LoadBefore and LoadAfter are the machine's load averages of a minute.
	LoadBefore string             `json:"load-before"`
	LoadAfter  string             `json:"load-after"`
	Faults     []convergenceFault `json:"faults"`
}

// convergenceFault is what one fault cost.
type convergenceFault struct {
	Gateway string `json:"gateway"`
	Fault   string `json:"fault"`
	Sent    int    `json:"sent"`
	Lost    int    `json:"lost"`
	// LastLost is when the last packet was sent that was lost, from the fault on;
	// 0: none was.
	LastLost time.Duration `json:"last-lost-ns"`
	// Moved is when the routers used other ways, from the fault on; nil: they went
	// on with those they had.
	Moved *time.Duration `json:"moved-ns"`
}

// Faults by their names.
const (
	linkCut        = "link of a replica cut"
	gatewayKilled  = "gateway's router killed"
	endpointKilled = "endpoint killed and started again"
	replicaKilled  = "endpoint and frontend killed"
	replicaLost    = "the same without graceful restart"
	lastTargetGone = "last target gone"
)

// fault is something to happen.
type fault struct {
	name  string
	cause func() error
	after func(context.Context) error // follows while the packets are sent
	// moved says whether the routers have changed their routes.
	moved func() (bool, error)
	mend  func(context.Context) error
	// untilMoved: what comes after it cannot be answered.
	untilMoved bool
}

func measureConvergence(ctx context.Context, o convergenceOptions) (_ *convergenceReport, err error) {
	r := &convergenceReport{Options: o, LoadBefore: load()}
	for _, name := range o.Gateways {
		if err := r.measureGateway(ctx, name); err != nil {
			return nil, fmt.Errorf("gateways run %s: %w", name, err)
		}
	}
	r.LoadAfter = load()
	return r, nil
}

func load() string {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(string(data), " ")
	return first
}

func (r *convergenceReport) measureGateway(ctx context.Context, name string) (err error) {
	kind, err := gatewayKind(name)
	if err != nil {
		return err
	}
	for _, graceful := range []bool{true, false} {
		if err := r.measureFaults(ctx, kind, graceful); err != nil {
			return err
		}
	}
	return nil
}

func (r *convergenceReport) measureFaults(ctx context.Context, kind cluster.Kind, graceful bool) (err error) {
	b, err := newConvergenceBed(ctx, r.Options, kind, graceful)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	faults := b.faults(ctx)
	if !graceful {
		faults = slices.DeleteFunc(faults, func(f fault) bool { return f.name != replicaKilled })
		faults[0].name = replicaLost
	}
	for i, f := range faults {
		if i > 0 {
			if err := faults[i-1].mend(ctx); err != nil {
				return fmt.Errorf("mend %s: %w", faults[i-1].name, err)
			}
		}
		found, err := b.measure(ctx, r.Options, f)
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		found.Gateway, found.Fault = string(kind), f.name
		r.Faults = append(r.Faults, found)
	}
	return nil
}

// measure makes a fault and sees what becomes of the packets.
func (b *convergenceBed) measure(ctx context.Context, o convergenceOptions, f fault) (found convergenceFault, err error) {
	from, moment := b.steady.Mark(), time.Now()
	if err := f.cause(); err != nil {
		return found, err
	}
	duration := time.Duration(float64(o.Packets) / float64(o.Rate) * float64(time.Second))
	watching, cancel := context.WithDeadline(ctx, moment.Add(duration))
	defer cancel()
	after := make(chan error, 1)
	go func() {
		if f.after == nil {
			after <- nil
			return
		}
		after <- f.after(ctx)
	}()
	to := from
	switch err := poll(watching, f.moved); {
	case err == nil:
		took := time.Since(moment)
		found.Moved, to = &took, b.steady.Mark()
	case ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded):
		return found, errors.Join(err, <-after)
	}
	<-watching.Done() // the rest of the packets
	if !f.untilMoved || found.Moved == nil {
		to = b.steady.Mark()
	}
	w := b.steady.Between(from, to)
	found.Sent, found.Lost = w.Sent, w.Lost
	if w.Lost > 0 {
		found.LastLost = max(0, w.LastLost.Sub(moment))
	}
	if err := <-after; err != nil {
		return found, err
	}
	return found, ctx.Err()
}

// faults are made in this order; each is mended before the next.
func (b *convergenceBed) faults(ctx context.Context) []fault {
	second, router := b.replicas[1], b.site.Gateways[1]
	restart := func(ctx context.Context) error {
		if err := second.Start(ctx); err != nil {
			return err
		}
		return b.settle(ctx)
	}
	return []fault{
		{
			name: linkCut, cause: func() error { return b.site.Cut(2) }, moved: func() (bool, error) { return b.reachedBy(1) },
			mend: func(ctx context.Context) error { return errors.Join(b.site.Mend(2), b.settle(ctx)) },
		},
		{
			name: gatewayKilled, cause: func() error { router.Kill(); return nil },
			moved: func() (bool, error) { return b.answersBy(b.replicas[0], 1) },
			mend:  func(ctx context.Context) error { return errors.Join(router.Start(ctx, b.gateway), b.settle(ctx)) },
		},
		{
			name: endpointKilled, cause: second.Kill, after: second.Start, moved: func() (bool, error) { return b.reachedBy(1) }, mend: b.settle,
		},
		{
			name: replicaKilled, cause: func() error { return errors.Join(second.Kill(), killServer(second.Node.FrontendSocket(second.Name))) },
			moved: func() (bool, error) { return b.reachedBy(1) }, mend: restart,
		},
		{
			name: lastTargetGone, cause: func() error { return b.workload.Detach(ctx, servedOn) },
			moved: func() (bool, error) { return b.reachedBy() }, mend: b.attach, untilMoved: true,
		},
	}
}

// reachedBy says whether all gateways reach all VIPs by exactly these replicas.
func (b *convergenceBed) reachedBy(replicas ...byte) (bool, error) {
	for _, g := range b.site.Gateways {
		for _, vip := range convergenceVIPs {
			found, err := g.Replicas(vip)
			if err != nil || !slices.Equal(found, replicas) {
				return false, err
			}
		}
	}
	return true, nil
}

// killServer kills the process that serves a socket.
func killServer(socket string) error {
	p, err := selfexec.Attach(socket)
	if err != nil {
		return err
	}
	defer p.Detach()
	return p.Signal(syscall.SIGKILL)
}
