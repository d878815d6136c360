// SPDX-License-Identifier: Apache-2.0

package test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/cluster"
	"github.com/weft-project/weft/internal/testutil"
)

// Faults of processes.

const (
	down = 500 * time.Millisecond // how long what was killed stays away
	// soonUp is for what heals by itself after a process is back: one second, and
	// what a busy machine adds.
	soonUp = time.Second + busy
)

// on returns the processes of components on all nodes.
func (b *bed) on(components ...string) (all []*cluster.Process) {
	for _, n := range b.Nodes {
		for _, component := range components {
			if p := n.Processes[component]; p != nil {
				all = append(all, p)
			}
		}
	}
	return all
}

// restart kills components on every node at once and starts them again.
func restart(components ...string) func(b *bed) {
	return func(b *bed) {
		all := b.on(components...)
		must(b.t, cluster.Kill(all...))
		b.wait(down)
		must(b.t, cluster.Restart(b.ctx, all...))
	}
}

// stopAndStart restarts components as a service manager does.
func stopAndStart(components ...string) func(b *bed) {
	return func(b *bed) {
		for _, p := range b.on(components...) {
			must(b.t, p.Stop())
			must(b.t, p.Start(b.ctx))
		}
	}
}

// starve keeps the CPU from every process of ours for longer than any detection
// takes; what they do not hear meanwhile is no reason for an alarm.
func starve(b *bed) {
	all := b.on(cluster.Registry, cluster.Manager, cluster.Forwarder, cluster.Agent)
	for _, r := range b.replicas {
		all = append(all, r.Process)
	}
	for _, p := range all {
		must(b.t, p.Pause())
	}
	b.wait(3 * time.Second)
	for _, p := range all {
		must(b.t, p.Resume())
	}
}

// upgrade restarts the forwarders, one after the other, as a binary with another
// program for the cross-connect.
func upgrade(b *bed) {
	binary := changedBinary(b.t)
	for _, p := range b.on(cluster.Forwarder) {
		must(b.t, p.Stop())
		p.Use(binary)
		must(b.t, p.Start(b.ctx))
	}
}

// changedBinary builds weft with another program in the cross-connect than the
// one that is loaded: the same source for an older instruction set.
func changedBinary(t testing.TB) string {
	t.Helper()
	testutil.Require(t, "clang-19")
	dir := t.TempDir()
	root, err := filepath.Abs("..")
	must(t, err)
	object := filepath.Join(dir, "changed.o")
	run := func(name string, args ...string) {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
	}
	run("clang-19", "-O2", "-g", "-Wall", "-Werror", "-target", "bpfel", "-mcpu=v2",
		"-Ibpf/include", "-I/usr/include/x86_64-linux-gnu", "-c", "bpf/xconnect.bpf.c", "-o", object)
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {
		filepath.Join(root, "pkg/dataplane/xconnect/xconnect_bpfel.o"): object,
	}})
	must(t, err)
	file := filepath.Join(dir, "overlay.json")
	must(t, os.WriteFile(file, overlay, 0o600))
	path := filepath.Join(dir, "weft")
	run("go", "build", "-overlay", file, "-o", path, "./cmd/weft")
	return path
}

// killReplicas kills load balancers whose data path is pinned, and starts them
// again.
func killReplicas(b *bed) {
	var all []*cluster.Process
	for _, r := range b.replicas {
		all = append(all, r.Process)
	}
	must(b.t, cluster.Kill(all...))
	b.wait(down)
	must(b.t, cluster.Restart(b.ctx, all...))
	b.reattached(soonUp)
}

// restartReplica restarts a load balancer that the router has left before, as
// the withdrawal of its routes would do.
func restartReplica(b *bed) {
	r := b.replicas[1]
	must(b.t, b.site.Route(vips, 1))
	must(b.t, r.Stop())
	must(b.t, r.Start(b.ctx))
	b.reattached(soonUp)
	must(b.t, b.site.Route(vips, 1, 2))
}

// reattached fails unless every workload is connected to every load balancer
// again within the limit.
func (b *bed) reattached(limit time.Duration) {
	b.t.Helper()
	start := time.Now()
	for _, w := range b.living() {
		if last, err := w.Await(b.ctx, nic, cluster.AllLegs(len(b.replicas))); err != nil {
			b.t.Fatalf("%s: wait for %d legs: %v; last seen %v", w.Name, len(b.replicas), err, last)
		}
	}
	took := time.Since(start)
	b.t.Logf("all legs stand again after %s", took)
	if took > limit {
		b.t.Errorf("all legs stand again after %s, limit %s", took, limit)
	}
}

// replicaDies takes a load balancer away with its namespace: the router sees its
// link go.
func replicaDies(b *bed) {
	must(b.t, b.replicas[1].Die())
	must(b.t, b.site.Route(vips, 1))
	b.replicas = b.replicas[:1]
}

// replicaKilled kills a load balancer's process. That no more comes in there is
// the router's business, by BFD; what the workloads answer is ours.
func replicaKilled(b *bed) {
	must(b.t, b.replicas[1].Kill())
	must(b.t, b.site.Route(vips, 1))
	b.replicas = b.replicas[:1]
}

// workloadDies takes a workload away with its namespace.
func workloadDies(b *bed) {
	last := b.workloads[len(b.workloads)-1]
	must(b.t, last.Die())
}
