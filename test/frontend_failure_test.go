// SPDX-License-Identifier: Apache-2.0

package test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/deployments/examples"
	"github.com/weft-project/weft/internal/app/up"
	"github.com/weft-project/weft/internal/frontend/process"
	"github.com/weft-project/weft/internal/selfexec"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/testutil/bpftest"
	"github.com/weft-project/weft/internal/testutil/router"
	"github.com/weft-project/weft/internal/traffic"
	"github.com/weft-project/weft/pkg/dataplane/lb"
)

// bpfFS is a BPF file system of the test's own.
func bpfFS(t *testing.T) string {
	t.Helper()
	testutil.Require(t, "bpf", "netns")
	dir := t.TempDir()
	must(t, unix.Mount("bpf", dir, "bpf", 0, ""))
	t.Cleanup(func() { check(t, unix.Unmount(dir, 0)) })
	return dir
}

// established waits until the router's sessions with replica 1 stand.
func established(t *testing.T, bird *router.BIRD) {
	t.Helper()
	testutil.Eventually(t, 30*time.Second, "sessions", func() bool {
		return bird.Protocol("lb1ipv4").Info == "Established" && bird.Protocol("lb1ipv6").Info == "Established"
	})
}

// sessions are what changes at the router when a session or a route does: since
// when sessions are up, and how many routes came and went by them.
func sessions(bird *router.BIRD) (seen []string) {
	for _, name := range []string{"lb1ipv4", "lb1ipv6"} {
		p := bird.Protocol(name)
		// BIRD tells the time since now and rounds it.
		seen = append(seen, name, p.Info, p.Since.Round(10*time.Second).Format(time.TimeOnly), p.Values["Import withdraws"])
	}
	for _, s := range bird.BFD() {
		seen = append(seen, s.State, s.Interface)
	}
	return seen
}

// TestFrontendDataPath: VIPs whose packets the data path does not take any more
// are withdrawn, and announced when it does again.
func TestFrontendDataPath(t *testing.T) {
	testutil.Require(t, "bird")
	pins := bpfFS(t)
	s := newStack(t, func(c *up.Config) { c.PinDir = pins })
	o := newWire(t)
	bird := router.StartBIRD(t, o.router, o.birdOf("", 1))
	s.apply(bgpGateways(""))
	r := s.addReplica(o, "trench-a", 1)
	established(t, bird)
	web := s.addWorkload("w1")
	web.attach("trench-a", "web")
	o.announced(bird, "the VIPs with a target", 1)
	plane := filepath.Join(pins, "lb-"+r.name)

	must(t, bpftest.Detach(filepath.Join(plane, "ingress")))
	o.announced(bird, "nothing without the program")
	s.says("DataPathDown", "get", "vips", "-o", "json")
	s.weft(s.AdminSocket(), "", "check", "--repair")
	o.announced(bird, "the VIPs with the program again", 1)
	o.reach(webPort, web)

	for _, target := range r.Component().Balancer().Snapshot().Targets {
		must(t, r.Component().DataPlane().DeleteTarget(target.ID))
	}
	o.announced(bird, "nothing without the target in the program")
	s.says("ProbeFailed", "get", "vips", "-o", "json")
	s.weft(s.AdminSocket(), "", "check", "--repair")
	o.announced(bird, "the VIPs with the target again", 1)
	o.reach(webPort, web)
}

// withBGP are the demo's resources with the gateways of trench-a as BGP routers.
func withBGP() string {
	var kept []string
	for _, text := range strings.Split(string(examples.Demo), "---\n") {
		if !strings.Contains(text, "kind: Gateway\n") || !strings.Contains(text, "namespace: trench-a\n") {
			kept = append(kept, text)
		}
	}
	return strings.Join(kept, "---\n") + bgpGateways("")
}

// TestFrontendKilled: an endpoint that is killed, and another one that follows it,
// change nothing for the routers: the sessions and announcements are those of a
// process that goes on. No packet is lost.
func TestFrontendKilled(t *testing.T) {
	testutil.Require(t, "bird")
	s := newStack(t)
	o := newWire(t)
	bird := router.StartBIRD(t, o.router, o.birdOf("", 1))
	path := o.connect(1)
	pins, socket, admin := filepath.Join(bpfFS(t), "lb"), filepath.Join(s.dir, "speaker.sock"), filepath.Join(s.dir, "lb-admin.sock")
	t.Cleanup(func() {
		check(t, lb.Discard(pins))
		p, err := process.Start(context.Background(), process.Options{NetNS: path, Socket: socket})
		must(t, err)
		check(t, p.Close(context.Background()))
	})
	start := func() (kill func()) {
		return s.replicaProcess(o, path, 1, withBGP(), "--pin-dir", pins, "--frontend-socket", socket, "--admin-socket", admin,
			"--state-dir", s.dir, "--grace", "60s")
	}
	kill := start()
	established(t, bird)
	web := s.addWorkload("w1")
	web.attach("trench-a", "web")
	o.announced(bird, "the VIPs with a target", 1)
	o.reach(webPort, web)
	pid := speakerOf(t, socket)
	before := sessions(bird)
	same := func(what string) {
		t.Helper()
		if now := sessions(bird); strings.Join(now, " ") != strings.Join(before, " ") {
			t.Errorf("%s: the router sees\n%v, before\n%v", what, now, before)
		}
		if now := speakerOf(t, socket); now != pid {
			t.Errorf("%s: process %d speaks, before %d", what, now, pid)
		}
	}

	l := o.load(destinations(webPort)...)
	kill()
	l.untouched("the endpoint is killed")
	same("the endpoint is killed")
	kill = start()
	testutil.Eventually(t, 60*time.Second, "the next endpoint to have taken over", func() bool {
		show := s.weft(admin, "", "frontend", "show").out
		return strings.Count(show, "Announced") == len(vips) && strings.Contains(s.weft(admin, "", "check").out, "no differences")
	})
	l.untouched("the next endpoint")
	same("the next endpoint")

	// Only what is in force after the takeover sends anything to a new workload.
	more := s.addWorkload("w2")
	more.attach("trench-a", "web")
	testutil.Eventually(t, 60*time.Second, "answers of a workload more", func() bool {
		return traffic.AskMany(o.dial(), "udp", destinations(webPort), 40, 8, pollTimeout).ByServer["w2"] > 0
	})
	o.reach(webPort, web, more)
	l.moved("a workload more")
	same("a workload more")
	l.pool.Stop()
	l.steady.Stop()
	web.detach("trench-a")
	more.detach("trench-a")
	o.announced(bird, "nothing after the last target, by the next endpoint")
	kill()
}

// speakerOf is the number of a frontend's process.
func speakerOf(t *testing.T, socket string) int {
	t.Helper()
	p, err := selfexec.Attach(socket)
	must(t, err)
	defer p.Detach()
	return p.Pid()
}
