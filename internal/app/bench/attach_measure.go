// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	agentv1 "github.com/weft-project/weft/pkg/api/agent/v1"
)

// attachReport is the outcome of `weft bench attach`.
type attachReport struct {
	Options attachOptions `json:"options"`
	Levels  []attachLevel `json:"levels"`
	// AttachRates and DetachRate are of several at a time.
	AttachRates []attachRate `json:"attach-rates,omitempty"`
	DetachRate  float64      `json:"detach-per-second,omitempty"`
}

// attachLevel is what was measured while a number of attachments existed.
type attachLevel struct {
	Existing  int            `json:"existing"`
	Local     attachTimes    `json:"local"`
	Remote    *attachTimes   `json:"remote,omitempty"` // nil with one node
	Processes []processUsage `json:"processes"`
}

// attachTimes are of one more attachment, until it is ready and until it is gone.
type attachTimes struct {
	Attach quantiles `json:"attach"`
	Detach quantiles `json:"detach"`
}

type quantiles struct {
	P50 time.Duration `json:"p50-ns"`
	P99 time.Duration `json:"p99-ns"`
}

// attachRate is of the way from one level to the next.
type attachRate struct {
	From      int     `json:"from"`
	To        int     `json:"to"`
	PerSecond float64 `json:"per-second"`
}

// wanted is one attachment of the benchmark.
type wanted struct {
	name, netns string
	from, to    int // nodes
}

func measureAttach(ctx context.Context, o attachOptions) (report *attachReport, err error) {
	b, err := newBed(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() {
		if closeErr := b.Close(); err == nil && closeErr != nil {
			err = closeErr
		}
	}()
	report = &attachReport{Options: o}
	var there []wanted
	for _, level := range o.Levels {
		if level > len(there) {
			more, err := b.workloads(len(there), level)
			if err != nil {
				return nil, err
			}
			rate, err := timed(ctx, more, o.Parallel, b.attach)
			if err != nil {
				return nil, err
			}
			report.AttachRates = append(report.AttachRates, attachRate{From: len(there), To: level, PerSecond: rate})
			there = append(there, more...)
		}
		measured, err := b.measure(ctx, level, o)
		if err != nil {
			return nil, err
		}
		report.Levels = append(report.Levels, measured)
	}
	if len(there) > 0 {
		if report.DetachRate, err = timed(ctx, there, o.Parallel, b.detach); err != nil {
			return nil, err
		}
	}
	return report, nil
}

// workloads makes the namespaces of attachments first to last: on the nodes in
// turn, to the own node's load balancer and to the next one's.
func (b *bed) workloads(first, last int) ([]wanted, error) {
	var out []wanted
	for i := first; i < last; i++ {
		w := wanted{name: fmt.Sprintf("w-%d", i), from: i % len(b.Nodes)}
		w.to = (w.from + i/len(b.Nodes)%2) % len(b.Nodes)
		var err error
		if w.netns, err = b.Add(w.name); err != nil {
			return nil, err
		}
		out = append(out, w)
	}
	return out, nil
}

func (b *bed) attach(ctx context.Context, w wanted) error {
	_, err := b.agents[w.from].Attach(ctx, &agentv1.AttachRequest{Wait: true, Spec: &agentv1.AttachmentSpec{
		Name: w.name, Netns: w.netns, Interface: "nsm-1",
		NetworkService: benchConduit(w.to) + "." + benchTrench, Streams: []string{benchStream(w.to)},
	}})
	if err != nil {
		return fmt.Errorf("attach %s: %w", w.name, err)
	}
	return nil
}

func (b *bed) detach(ctx context.Context, w wanted) error {
	if _, err := b.agents[w.from].Detach(ctx, &agentv1.DetachRequest{Name: w.name}); err != nil {
		return fmt.Errorf("detach %s: %w", w.name, err)
	}
	return nil
}

// timed does something with all attachments, several at a time, and returns how
// many there were per second.
func timed(ctx context.Context, all []wanted, parallel int, do func(context.Context, wanted) error) (float64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	began := time.Now()
	queue := make(chan wanted)
	var workers sync.WaitGroup
	for range parallel {
		workers.Go(func() {
			for w := range queue {
				if err := do(ctx, w); err != nil {
					cancel(err)
				}
			}
		})
	}
	for _, w := range all {
		queue <- w
	}
	close(queue)
	workers.Wait()
	return float64(len(all)) / time.Since(began).Seconds(), context.Cause(ctx)
}

// measure takes a level.
func (b *bed) measure(ctx context.Context, existing int, o attachOptions) (attachLevel, error) {
	level := attachLevel{Existing: existing}
	var err error
	if level.Processes, err = b.idle(ctx, o.Settle, o.Idle); err != nil {
		return level, err
	}
	if level.Local, err = b.sample(ctx, fmt.Sprintf("local-%d", existing), o.Samples, 0); err != nil {
		return level, err
	}
	if len(b.Nodes) > 1 {
		remote, err := b.sample(ctx, fmt.Sprintf("remote-%d", existing), o.Samples, 1)
		if err != nil {
			return level, err
		}
		level.Remote = &remote
	}
	return level, nil
}

// sample attaches and detaches from each node in turn, one at a time, to the load
// balancer that is so many nodes further. The first cycle on each node, which
// makes connections, does not count.
func (b *bed) sample(ctx context.Context, name string, samples, further int) (attachTimes, error) {
	var workloads []wanted
	for node := range b.Nodes {
		w := wanted{name: fmt.Sprintf("%s-%d", name, node), from: node, to: (node + further) % len(b.Nodes)}
		var err error
		if w.netns, err = b.Add(w.name); err != nil {
			return attachTimes{}, err
		}
		workloads = append(workloads, w)
	}
	var attaches, detaches []time.Duration
	for i := range samples + len(workloads) {
		w := workloads[i%len(workloads)]
		began := time.Now()
		if err := b.attach(ctx, w); err != nil {
			return attachTimes{}, err
		}
		attached := time.Now()
		if err := b.detach(ctx, w); err != nil {
			return attachTimes{}, err
		}
		if i >= len(workloads) {
			attaches, detaches = append(attaches, attached.Sub(began)), append(detaches, time.Since(attached))
		}
	}
	for _, w := range workloads {
		if err := b.Remove(w.name); err != nil {
			return attachTimes{}, err
		}
	}
	return attachTimes{Attach: quantilesOf(attaches), Detach: quantilesOf(detaches)}, nil
}

func quantilesOf(durations []time.Duration) quantiles {
	slices.Sort(durations)
	return quantiles{P50: durations[len(durations)/2], P99: durations[len(durations)*99/100]}
}
