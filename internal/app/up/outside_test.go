// SPDX-License-Identifier: Apache-2.0

package up

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/deployments/examples"
	"github.com/weft-project/weft/internal/app/endpoint"
	"github.com/weft-project/weft/internal/frontend/process"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/selfexec"
	"github.com/weft-project/weft/internal/testutil"
)

func TestMain(m *testing.M) {
	process.MaybeServe() // this binary is the frontends' as well
	os.Exit(m.Run())
}

// The interface of an attractor is kept, with its addresses and the process that
// speaks to gateways, for the next stack, and goes with a stop.
func TestOutsideIsKept(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	dir, err := os.MkdirTemp("", "weft-up-") // the path of a unix socket is short
	if err != nil {
		t.Fatal(err)
	}
	bpffs, node, replica := t.TempDir(), testutil.NetNS(t), testutil.NetNS(t)
	if err := unix.Mount("bpf", bpffs, "bpf", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(bpffs, 0); err != nil {
			t.Error(err)
		}
		_ = os.RemoveAll(dir)
	}()
	h := testutil.Handle(t, node)
	eth, _, err := h.AddVeth(nl.Veth{Name: "eth0", PeerName: "eth0", PeerNetNS: testutil.NetNS(t), PeerUp: true})
	if err != nil || h.SetUp(eth.Index) != nil {
		t.Fatal(err)
	}
	vlan, err := os.ReadFile(filepath.Join("..", "..", "..", "deployments", "examples", "frontend", "vlan.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	config := Config{
		Node: "n1", NetNS: node, RunDir: dir, StateDir: filepath.Join(dir, "state"), PinDir: filepath.Join(bpffs, "weft"), OnStop: "keep",
		Replicas: []Replica{{
			Name: "lb-1", Trench: "trench-a", Conduit: "lb", NetNS: replica, Prefixes: []netip.Prefix{netip.MustParsePrefix("172.16.1.0/24")},
		}},
	}
	var first, pid int
	for i := range 3 {
		if i == 2 {
			config.OnStop = "remove"
		}
		stack, err := Start(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			if err := errors.Join(stack.Apply("demo.yaml", examples.Demo), stack.Apply("vlan.yaml", vlan)); err != nil {
				t.Error(err)
			}
		}
		testutil.Eventually(t, 30*time.Second, "the endpoint", func() bool {
			return stack.replicas[0].Component() != nil && speaker(config) != 0
		})
		index, speaks := testutil.Link(t, replica, "ext0").Index, speaker(config)
		if i > 0 && (index != first || speaks != pid) {
			t.Errorf("start %d: interface %d, was %d; process %d, was %d", i, index, first, speaks, pid)
		}
		first, pid = index, speaks
		if err := stack.Stop(); err != nil {
			t.Error(err)
		}
		if left := len(testutil.Links(t, replica)) > 1; left != (i < 2) {
			t.Errorf("start %d: the interface is left: %t", i, left)
		}
	}
}

// speaker is the process that speaks to the gateways; 0: there is none yet.
func speaker(config Config) int {
	p, err := selfexec.Attach(filepath.Join(config.RunDir, endpoint.FrontendSocketName(config.Replicas[0].Name)))
	if err != nil {
		return 0
	}
	defer p.Detach()
	return p.Pid()
}
