// SPDX-License-Identifier: Apache-2.0

package test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weft-project/weft/deployments/examples"
	"github.com/weft-project/weft/internal/cluster"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/traffic"
)

const (
	faultFlows = 256
	faultRate  = 20000 // numbered requests per second, IPv4 and IPv6
	// encryptedRate is what WireGuard in user space does on two cores that do
	// everything else, too.
	encryptedRate = 4000
	faultConns    = 50 // TCP connections that talk all the time
	faultCalm     = time.Second
	faultTime     = 60 * time.Second // for everything of one case
)

// binary is the weft command as users get it: the race detector would slow the
// processes down beyond what is measured. TestMain removes it.
var binary struct {
	once sync.Once
	dir  string
	err  error
}

func weftBinary(t testing.TB) string {
	t.Helper()
	binary.once.Do(func() {
		if binary.dir, binary.err = os.MkdirTemp("", "weft-bin-"); binary.err == nil {
			cmd := exec.Command("go", "build", "-o", binary.dir, "./cmd/weft")
			cmd.Dir = ".."
			var out []byte
			if out, binary.err = cmd.CombinedOutput(); binary.err != nil {
				binary.err = fmt.Errorf("%w: %s", binary.err, out)
			}
		}
	})
	must(t, binary.err)
	return filepath.Join(binary.dir, "weft")
}

// bed is a cluster with load balancers, workloads and traffic, in which a fault
// is tried.
type bed struct {
	t *testing.T
	*cluster.Cluster
	ctx       context.Context
	site      *cluster.Site
	replicas  []*cluster.Replica
	workloads []*cluster.Workload
	steady    *traffic.Steady
	pool      *traffic.Pool
	before    kernelState
	ids       []cluster.Identity // of the workloads' interfaces
}

// newBed starts a cluster with two load balancers and four workloads spread
// over the nodes, and traffic to all of them.
func newBed(t *testing.T, nodes int, f fault) *bed {
	t.Helper()
	b := newCluster(t, cluster.Options{
		Nodes: nodes, Together: f.together, StateSize: f.stateSize, KeyRotation: f.keyRotation,
	}, cluster.ReplicaOptions{Pinned: f.pinned, Mechanism: f.mechanism()})
	b.start()
	b.startTraffic(f.rate())
	return b
}

// newCluster makes the cluster and the load balancers, like r but each with its
// place; nothing runs yet.
func newCluster(t *testing.T, o cluster.Options, r cluster.ReplicaOptions) *bed {
	t.Helper()
	testutil.CheckLeaks(t)
	o.Prefix, o.Binary, o.Manifests = testutil.RandomName("wf")+"-", weftBinary(t), examples.Demo
	ctx, cancel := context.WithTimeout(context.Background(), faultTime)
	t.Cleanup(cancel)
	c, err := cluster.New(o)
	must(t, err)
	b := &bed{t: t, Cluster: c, ctx: ctx}
	t.Cleanup(func() {
		if t.Failed() {
			c.WriteLogs(os.Stderr, 15)
		}
		check(t, c.Close())
	})
	b.site, err = cluster.NewSite(c.Namespaces, "a", 1)
	must(t, err)
	r.Trench, r.Conduit, r.Site, r.TableSize = "trench-a", "lb", b.site, tableSize
	for i := range 2 {
		r.Number = byte(i + 1)
		replica, err := b.node(i).AddReplica(fmt.Sprintf("lb-%d", r.Number), r)
		must(t, err)
		b.replicas = append(b.replicas, replica)
	}
	return b
}

// start runs it, with workloads.
func (b *bed) start() {
	b.t.Helper()
	t := b.t
	must(t, b.Start(b.ctx))
	if len(b.Nodes[0].Processes) == 1 { // all in one
		b.apply()
	}
	must(t, b.site.Route(vips, 1, 2))
	for i := range 4 {
		b.addWorkload(b.node(i), fmt.Sprintf("w%d", i+1))
	}
	b.reach(webPort, b.workloads...)
}

func (b *bed) node(i int) *cluster.Node { return b.Nodes[i%len(b.Nodes)] }

// apply gives the resources to nodes that run in one process.
func (b *bed) apply() {
	b.t.Helper()
	for _, n := range b.Nodes {
		cmd := exec.Command(weftBinary(b.t), "apply", "-f", "-")
		cmd.Stdin, cmd.Env = strings.NewReader(string(examples.Demo)), append(os.Environ(), "WEFT_SOCKET="+n.Dir)
		out, err := cmd.CombinedOutput()
		if err != nil {
			b.t.Fatalf("weft apply: %v: %s", err, out)
		}
	}
}

// addWorkload starts a workload and attaches it to stream web.
func (b *bed) addWorkload(n *cluster.Node, name string) *cluster.Workload {
	b.t.Helper()
	w, err := n.AddWorkload(b.ctx, name, webPort, apiPort)
	must(b.t, err)
	// An agent may be on its way back.
	for _, err = w.Attach(b.ctx, "lb.trench-a", nic, "web"); status.Code(err) == codes.Unavailable; {
		_, err = w.Attach(b.ctx, "lb.trench-a", nic, "web")
	}
	must(b.t, err)
	if last, err := w.Await(b.ctx, nic, cluster.AllLegs(len(b.replicas))); err != nil {
		b.t.Fatalf("%s: wait for %d legs: %v; last seen %v", name, len(b.replicas), err, last)
	}
	b.workloads = append(b.workloads, w)
	return w
}

// reach waits until all workloads answer, and nobody else.
func (b *bed) reach(port uint16, workloads ...*cluster.Workload) {
	b.t.Helper()
	var names []string
	for _, w := range workloads {
		names = append(names, w.Name)
	}
	must(b.t, b.site.Await(b.ctx, destinations(port), names...))
}

func (b *bed) startTraffic(rate int) {
	b.t.Helper()
	var err error
	b.pool, err = traffic.StartPool(b.site.Dial(), destinations(webPort), faultConns)
	must(b.t, err)
	b.t.Cleanup(b.pool.Stop)
	b.steady, err = traffic.StartSteady(traffic.SteadyConfig{
		To: destinations(webPort), Flows: faultFlows, Rate: rate, Dial: b.site.Dial(),
	})
	must(b.t, err)
	b.t.Cleanup(b.steady.Stop)
	for _, w := range b.workloads {
		id, err := cluster.IdentityOf(w.NetNS, nic)
		must(b.t, err)
		b.ids = append(b.ids, id)
	}
	if w := b.window(faultCalm); w.Lost > 0 {
		b.t.Fatalf("%d of %d packets are lost before anything happens", w.Lost, w.Sent)
	}
	b.before = b.kernelState()
}

// wait is how long a fault lasts.
func (b *bed) wait(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}

// window reports on the traffic of a while from now.
func (b *bed) window(d time.Duration) traffic.Window {
	from := b.steady.Mark()
	b.wait(d)
	return b.steady.Between(from, b.steady.Mark())
}

// sameInterfaces fails when anything about a workload's interface is another.
func (b *bed) sameInterfaces() {
	b.t.Helper()
	for i, w := range b.workloads[:len(b.ids)] {
		if !w.Alive() {
			continue
		}
		now, err := cluster.IdentityOf(w.NetNS, nic)
		must(b.t, err)
		if !cmp.Equal(b.ids[i], now) {
			b.t.Errorf("%s: the interface is another one: %v, before %v", w.Name, now, b.ids[i])
		}
	}
}

// adjustable joins a stream, adds an attachment and takes both back, all under
// traffic, and returns how long it took until that could be done.
func (b *bed) adjustable() time.Duration {
	b.t.Helper()
	start := time.Now()
	first := b.workloads[0]
	must(b.t, first.Update(b.ctx, nic, []string{"api"}, nil))
	took := time.Since(start)
	b.reach(apiPort, first)
	living := b.living()
	extra := b.addWorkload(living[len(living)-1].Node, "extra")
	b.workloads = b.workloads[:len(b.workloads)-1]
	b.reach(webPort, append(b.living(), extra)...)
	must(b.t, extra.Detach(b.ctx, nic))
	must(b.t, first.Update(b.ctx, nic, nil, []string{"api"}))
	b.reach(webPort, b.living()...)
	must(b.t, extra.Die())
	return took
}

func (b *bed) living() []*cluster.Workload {
	return slices.DeleteFunc(slices.Clone(b.workloads), func(w *cluster.Workload) bool { return !w.Alive() })
}
