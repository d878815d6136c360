// SPDX-License-Identifier: Apache-2.0

package test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

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
	churnRate = 200 // attach and detach, together, per second
	churnTime = 4 * time.Second
	churners  = 12 // side by side on each node
)

// churn attaches and detaches at a fixed rate on all nodes.
func churn(b *bed) {
	var done, failed atomic.Int64
	errs := make(chan error, churners*len(b.Nodes))
	end := time.Now().Add(churnTime)
	for i, n := range b.Nodes {
		w, err := n.AddWorkload(b.ctx, fmt.Sprintf("churn-%d", i+1), webPort)
		must(b.t, err)
		defer func() { must(b.t, w.Die()) }()
		for k := range churners {
			iface := fmt.Sprintf("churn-%d", k)
			go func() {
				tick := time.NewTicker(time.Second * 2 * churners * time.Duration(len(b.Nodes)) / churnRate)
				defer tick.Stop()
				for time.Now().Before(end) {
					_, err := w.Attach(b.ctx, "lb.trench-a", iface)
					if err == nil {
						err = w.Detach(b.ctx, iface)
					}
					if err != nil {
						failed.Add(1)
						errs <- err
						return
					}
					done.Add(2)
					<-tick.C
				}
				errs <- nil
			}()
		}
	}
	for range cap(errs) {
		check(b.t, <-errs)
	}
	rate := float64(done.Load()) / churnTime.Seconds()
	b.t.Logf("%.0f attach and detach a second, %d failed", rate, failed.Load())
	if rate < churnRate*9/10 {
		b.t.Errorf("%.0f attach and detach a second, want %d", rate, churnRate)
	}
}
