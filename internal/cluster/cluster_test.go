// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/weft-project/weft/deployments/examples"
	"github.com/weft-project/weft/internal/app/control"
	"github.com/weft-project/weft/internal/app/up"
	"github.com/weft-project/weft/internal/app/weft"
	"github.com/weft-project/weft/internal/cli"
	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/testutil"
)

// TestMain lets the test binary be the processes of a cluster.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-test.") {
		os.Exit(weft.Run(context.Background(), cli.OSEnv(), os.Args[1:], append(NewCommands(), up.NewCommand(), control.NewRegistryCommand(), control.NewNSMgrCommand())...))
	}
	os.Exit(m.Run())
}

var vips = []netip.Addr{netip.MustParseAddr("20.0.0.1"), netip.MustParseAddr("2000::1")}

// start runs a cluster until cleanup.
func start(t *testing.T, o Options) *Cluster {
	t.Helper()
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	o.Prefix, o.Manifests = testutil.RandomName("wc")+"-", examples.Demo
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			c.WriteLogs(os.Stderr, 20)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestNode runs the components of one node apart, kills and restarts them, and
// finds nothing left in the end.
func TestNode(t *testing.T) {
	c := start(t, Options{})
	node := c.Nodes[0]
	site, err := NewSite(c.Namespaces, "a", 1)
	if err != nil {
		t.Fatal(err)
	}
	for number := byte(1); number <= 2; number++ {
		if _, err := node.AddReplica("lb-"+string('0'+number), ReplicaOptions{
			Trench: "trench-a", Conduit: "lb", Site: site, Number: number, TableSize: 4099,
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := site.Route(vips, 1, 2); err != nil {
		t.Fatal(err)
	}
	w, err := node.AddWorkload(t.Context(), "w1", 5000)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := w.Attach(ctx, "lb.trench-a", "nsm-1", "web"); err != nil {
		t.Fatal(err)
	}
	if last, err := w.Await(ctx, "nsm-1", AllLegs(2)); err != nil {
		t.Fatalf("%v; last %v", err, last)
	}
	reach := func() {
		t.Helper()
		to := []netip.AddrPort{netip.AddrPortFrom(vips[0], 5000), netip.AddrPortFrom(vips[1], 5000)}
		if err := site.Await(ctx, to, "w1"); err != nil {
			t.Error(err)
		}
	}
	reach()
	agent := node.Processes[Agent]
	pid := agent.PID()
	if err := agent.Kill(); err != nil || agent.Alive() {
		t.Fatalf("killed: alive %t, %v", agent.Alive(), err)
	}
	if err := agent.Start(t.Context()); err != nil || agent.PID() == pid {
		t.Fatalf("restarted as %d: %v", agent.PID(), err)
	}
	reach()
	if err := w.Detach(ctx, "nsm-1"); err != nil {
		t.Error(err)
	}
}

// TestUnderlay: nodes reach each other but when they are cut off.
func TestUnderlay(t *testing.T) {
	testutil.Require(t, "netns")
	c, err := New(Options{Prefix: testutil.RandomName("wc") + "-", Nodes: 3, MTU: 1400})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if names, err := netns.List(); err != nil || strings.Contains(strings.Join(names, " "), c.prefix) {
			t.Errorf("namespaces remain: %v, %v", names, err)
		}
	})
	a, b, d := c.Nodes[0], c.Nodes[1], c.Nodes[2]
	reaches := func(from, to *Node) bool {
		for _, ip := range []netip.Addr{to.IPv4, to.IPv6} {
			echo := testutil.ListenPacket(t, to.NetNS, "udp", netip.AddrPortFrom(ip, 0).String())
			go func() {
				buffer := make([]byte, 100)
				if n, peer, err := echo.ReadFrom(buffer); err == nil {
					_, _ = echo.WriteTo(buffer[:n], peer)
				}
			}()
			conn, err := testutil.Dial(t.Context(), from.NetNS, "udp", "", echo.LocalAddr().String())
			if err != nil {
				return false
			}
			_ = conn.SetDeadline(time.Now().Add(time.Second))
			_, _ = conn.Write([]byte("hello"))
			_, err = conn.Read(make([]byte, 100))
			_, _ = conn.Close(), echo.Close()
			if err != nil {
				return false
			}
		}
		return true
	}
	expect := func(what string, want map[[2]*Node]bool) {
		t.Helper()
		for pair, reachable := range want {
			if got := reaches(pair[0], pair[1]); got != reachable {
				t.Errorf("%s: %s reaches %s: %t", what, pair[0].Name, pair[1].Name, got)
			}
		}
	}
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	all := map[[2]*Node]bool{{a, b}: true, {b, a}: true, {a, d}: true, {d, b}: true}
	expect("at first", all)
	do(c.Partition(a, b))
	expect("partition", map[[2]*Node]bool{{a, b}: false, {b, a}: false, {a, d}: true, {d, b}: true})
	do(c.Heal(a, b))
	expect("healed", all)
	do(b.LinkDown())
	expect("link down", map[[2]*Node]bool{{a, b}: false, {a, d}: true})
	do(b.LinkUp())
	testutil.Eventually(t, 5*time.Second, "the link to be up again", func() bool { return reaches(a, b) && reaches(d, b) })
	if link := testutil.Link(t, a.NetNS, Underlay); link.MTU != 1400 {
		t.Errorf("MTU %d", link.MTU)
	}
}
