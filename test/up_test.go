// SPDX-License-Identifier: Apache-2.0

package test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
)

// TestUpCommand runs `weft up` as a process of its own, works with it by the
// commands that an administrator types, and stops it as a service manager does.
func TestUpCommand(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	dir, node, replica := t.TempDir(), testutil.NetNS(t), testutil.NetNS(t)
	h := testutil.Handle(t, replica)
	_, _, err := h.AddVeth(nl.Veth{Name: "ext0", PeerName: "peer", PeerUp: true})
	must(t, err)
	config := filepath.Join(dir, "up.yaml")
	must(t, os.WriteFile(config, fmt.Appendf(nil, `
run-dir: %[1]s
state-dir: %[1]s/state
netns: %[2]s
replicas:
- {name: lb-1, trench: trench-a, conduit: lb, netns: %[3]s, interface: ext0, prefixes: [172.16.1.0/24]}
`, dir, node, replica), 0o600))

	cmd := func(args ...string) *exec.Cmd {
		c := exec.Command(os.Args[0], args...)
		// The race detector makes each process linger for a second.
		c.Env = append(os.Environ(), "WEFT_SOCKET="+dir, "GORACE=atexit_sleep_ms=0")
		return c
	}
	run := func(args ...string) string {
		out, err := cmd(args...).CombinedOutput()
		if err != nil {
			t.Fatalf("weft %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	run("up", "--config", config, "--check")
	up := cmd("up", "--config", config)
	var log bytes.Buffer
	up.Stderr = &log
	must(t, up.Start())
	stopped := false
	defer func() {
		if !stopped {
			_ = up.Process.Kill()
			_ = up.Wait()
		}
		if t.Failed() {
			t.Log(log.String())
		}
	}()
	testutil.Eventually(t, patience, "weft up to serve", func() bool {
		out, err := cmd("status").CombinedOutput()
		return err == nil && strings.Contains(string(out), "endpoint lb-1")
	})
	run("apply", "-f", "../deployments/examples/demo.yaml")
	testutil.Eventually(t, patience, "the flows to be programmed", func() bool {
		return strings.Count(run("get", "flows"), "True") == 2 // those of trench-a; nobody carries out trench-b
	})
	if out, err := cmd("up", "--config", config).CombinedOutput(); err == nil || !bytes.Contains(out, []byte("another process serves")) {
		t.Errorf("a second weft up: %v, %s", err, out)
	}
	run("status") // the first one still serves
	must(t, up.Process.Signal(syscall.SIGTERM))
	must(t, up.Wait())
	stopped = true
	links, err := testutil.Handle(t, node).Links()
	must(t, err)
	if len(links) != 1 { // lo
		t.Errorf("interfaces remain: %v", links)
	}
}
