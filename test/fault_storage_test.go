// SPDX-License-Identifier: Apache-2.0

package test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weft-project/weft/internal/cluster"
	agentv1 "github.com/weft-project/weft/pkg/api/agent/v1"
)

// Faults of what is kept, and load on the control plane.

// fullDisk fills the state directory and restarts the agents on it. What is
// there already goes on; what is new is refused with the reason.
func fullDisk(b *bed) {
	var fillers []string
	for _, n := range b.Nodes {
		fillers = append(fillers, filepath.Join(n.StateDir, "filler"))
		must(b.t, fill(fillers[len(fillers)-1]))
	}
	restart(cluster.Agent)(b)
	b.reattached(soonUp)
	w := b.workloads[0]
	_, err := w.Agent.Attach(b.ctx, &agentv1.AttachRequest{Spec: &agentv1.AttachmentSpec{
		Name: "too-much", NetworkService: "lb.trench-a", Interface: "nsm-9",
	}})
	if err == nil {
		b.t.Error("with a full state directory an attachment is accepted")
	}
	b.t.Logf("with a full state directory: %v", err)
	for _, filler := range fillers {
		must(b.t, os.Remove(filler))
	}
}

// fill writes a file until nothing more fits.
func fill(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	for size := 1 << 16; size > 0; {
		if _, err := file.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			return errors.Join(err, file.Close())
		}
	}
	return file.Close()
}

// unmounted takes the BPF file systems away and mounts empty ones. What was
// pinned is held by the processes alone.
func unmounted(b *bed) {
	for _, n := range b.Nodes {
		must(b.t, n.UnmountBPF())
	}
	b.wait(down)
	for _, n := range b.Nodes {
		must(b.t, n.MountBPF())
	}
}

// unpinned removes every pinned link and map of every node.
func unpinned(b *bed) {
	removed := 0
	for _, n := range b.Nodes {
		must(b.t, filepath.WalkDir(n.PinDir(), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			removed++
			return os.Remove(path)
		}))
	}
	if removed == 0 {
		b.t.Error("nothing is pinned")
	}
	b.wait(down)
}

// afterwards kills the forwarders of what another fault has spoilt, and starts
// others.
func afterwards(spoil func(*bed)) func(*bed) {
	return func(b *bed) {
		spoil(b)
		restart(cluster.Forwarder)(b)
	}
}

// slowRegistry lets the registry run for a tenth of the time, so that each
// answer takes up to a second, while a workload comes and goes.
func slowRegistry(b *bed) {
	p := b.Nodes[0].Processes[cluster.Registry]
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			if err := p.Pause(); err != nil {
				stopped <- err
				return
			}
			time.Sleep(900 * time.Millisecond) // the delay itself
			if err := p.Resume(); err != nil {
				stopped <- err
				return
			}
			select {
			case <-stop:
				stopped <- nil
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	b.adjustable()
	close(stop)
	must(b.t, <-stopped)
}

const (
	churnRate = 200             // attach and detach, together, per second
	churnTime = 2 * time.Second // of new ones; then all have to end
	churners  = 12              // side by side, of busyChurn
	// churnSettle is how long something may be left after the last answer.
	churnSettle = time.Second
)

// churn asks for attachments at a fixed rate, whatever becomes of the ones
// before, and detaches each as soon as it is ready. A machine that is too small
// for that rate refuses some at once, which leave nothing; what it takes on it
// does.
func churn(b *bed) {
	var workloads []*cluster.Workload
	for i, n := range b.Nodes {
		w, err := n.AddWorkload(b.ctx, fmt.Sprintf("churn-%d", i+1), webPort)
		must(b.t, err)
		defer func() { must(b.t, w.Die()) }()
		workloads = append(workloads, w)
	}
	before := b.kernelState()
	const pairs = churnRate / 2 * int(churnTime/time.Second)
	type outcome struct {
		err  error
		took time.Duration
	}
	outcomes := make(chan outcome, pairs)
	tick := time.NewTicker(2 * time.Second / churnRate)
	defer tick.Stop()
	start := time.Now()
	for i := range pairs {
		go func() {
			began := time.Now()
			err := comeAndGo(b.ctx, workloads[i%len(workloads)], fmt.Sprintf("churn-%d", i))
			outcomes <- outcome{err, time.Since(began)}
		}()
		<-tick.C
	}
	offered, done, refused, longest := time.Since(start), 0, 0, time.Duration(0)
	for range pairs {
		switch o := <-outcomes; {
		case o.err == nil:
			done++
		case status.Code(errors.Unwrap(o.err)) == codes.ResourceExhausted:
			refused++
			longest = max(longest, o.took)
		default:
			b.t.Error(o.err)
		}
	}
	took, settled := time.Since(start), time.Now()
	limit := churnSettle
	if testing.Short() {
		limit *= shortFactor
	}
	for grown := b.kernelState().growth(before); len(grown) > 0; grown = b.kernelState().growth(before) {
		if time.Since(settled) > limit {
			b.t.Errorf("%s after the last answer: %s", limit, strings.Join(grown, "; "))
			break
		}
		b.wait(20 * time.Millisecond)
	}
	b.t.Logf("%.0f attach and detach a second asked for, %.0f done: %d attachments, and %d refused within %s; settled %s after the last answer",
		2*float64(pairs)/offered.Seconds(), float64(2*done)/took.Seconds(), done, refused, longest.Round(time.Millisecond), time.Since(settled).Round(time.Millisecond))
	if done < pairs/10 {
		b.t.Errorf("only %d of %d were done", done, pairs)
	}
}

// busyChurn attaches and detaches as fast as it goes, churners at a time.
func busyChurn(b *bed) {
	var workloads []*cluster.Workload
	for i, n := range b.Nodes {
		w, err := n.AddWorkload(b.ctx, fmt.Sprintf("churn-%d", i+1), webPort)
		must(b.t, err)
		defer func() { must(b.t, w.Die()) }()
		workloads = append(workloads, w)
	}
	var done atomic.Int64
	errs := make(chan error, churners)
	start := time.Now()
	for i := range churners {
		go func() {
			var err error
			for err == nil && time.Since(start) < churnTime {
				if err = comeAndGo(b.ctx, workloads[i%len(workloads)], fmt.Sprintf("churn-%d", i)); err == nil {
					done.Add(2)
				}
			}
			errs <- err
		}()
	}
	for range churners {
		check(b.t, <-errs)
	}
	b.t.Logf("%.0f attach and detach a second", float64(done.Load())/time.Since(start).Seconds())
}

// comeAndGo attaches and detaches.
func comeAndGo(ctx context.Context, w *cluster.Workload, iface string) error {
	if _, err := w.Agent.Attach(ctx, &agentv1.AttachRequest{
		Wait: true, WaitTimeout: durationpb.New(faultTime),
		Spec: &agentv1.AttachmentSpec{Name: w.Attachment(iface), NetworkService: "lb.trench-a", Interface: iface},
	}); err != nil {
		return fmt.Errorf("attach %s: %w", iface, err)
	}
	if err := w.Detach(ctx, iface); err != nil {
		return fmt.Errorf("detach %s: %w", iface, err)
	}
	return nil
}
