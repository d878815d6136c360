// SPDX-License-Identifier: Apache-2.0

package test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/weft-project/weft/internal/app/up"
	"github.com/weft-project/weft/internal/cluster"
	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/testutil"
	agentv1 "github.com/weft-project/weft/pkg/api/agent/v1"
	bpf "github.com/weft-project/weft/pkg/dataplane/inventory"
)

// TestDown kills two hosts' weft up, with all that they can have: load balancers,
// workloads on both, encrypted tunnels. weft down leaves an empty machine.
func TestDown(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	b := newCluster(t, cluster.Options{Nodes: 2, Together: true}, cluster.ReplicaOptions{Pinned: true})
	b.configure(func(c *up.Config) { c.Mechanism = "wireguard" })
	b.start()
	b.checks("as it should be", false)
	before := map[*cluster.Node][]string{}
	var objects bpf.Objects
	for _, n := range b.Nodes {
		out, err := weftIn(b, n, "down")
		if err == nil || !strings.Contains(out, "it runs: somebody answers on") {
			t.Errorf("weft down while weft up runs: %v, %s", err, out)
		}
		objects = objectsOf(t, objects, n.Processes[cluster.Up].PID())
	}
	if len(objects) == 0 {
		t.Fatal("no BPF objects are held")
	}
	b.reach(webPort, b.workloads...)
	for _, n := range b.Nodes {
		must(t, n.Processes[cluster.Up].Kill())
		out, err := weftIn(b, n, "down", "--dry-run")
		must(t, err)
		before[n] = strings.Split(strings.TrimSpace(out), "\n")
		for _, what := range []string{"interface weft-vxlan ", "interface weft-vxwg ", "(weft:client:", "(weft:endpoint:", "pin " + n.PinDir(),
			"WireGuard process at ", "namespace /", "attachment /", "socket " + n.Socket("admin")} {
			if !strings.Contains(out, what) {
				t.Errorf("%s: the dry run does not tell of %q:\n%s", n.Name, what, out)
			}
		}
	}
	b.reach(webPort, b.workloads...) // by what is left

	for i, n := range b.Nodes {
		flags := []string{"down"}
		if i == 1 {
			flags = append(flags, "--keep-attachments")
		}
		out, err := weftIn(b, n, flags...)
		must(t, err)
		for _, line := range before[n] {
			what := strings.TrimPrefix(line, "would remove ")
			if removed := strings.Contains(out, "removed "+what); removed == (i == 1 && strings.HasPrefix(what, "attachment ")) {
				t.Errorf("%s: of %q, weft down says:\n%s", n.Name, what, out)
			}
		}
		if out, err = weftIn(b, n, flags...); err != nil || strings.TrimSpace(out) != "nothing to remove" {
			t.Errorf("a second weft down: %v, %s", err, out)
		}
		b.empty(n)
	}
	gone := func() bool {
		now, err := bpf.Of("")
		must(t, err)
		return len(objects.Minus(objects.Minus(now))) == 0
	}
	testutil.Eventually(t, patience, "the BPF objects to go", gone)

	for _, n := range b.Nodes {
		must(t, n.Processes[cluster.Up].Start(b.ctx))
	}
	for _, w := range b.workloads {
		list, err := w.Agent.List(b.ctx, &agentv1.ListRequest{})
		must(t, err)
		if kept := w.Node == b.Nodes[1]; (len(list.GetAttachments()) > 0) != kept {
			t.Errorf("%s: kept %t, attachments %v", w.Name, kept, list)
		}
		if w.Node == b.Nodes[1] {
			_, err = w.Await(b.ctx, nic, cluster.AllLegs(len(b.replicas)))
			must(t, err)
		}
	}
	b.reach(webPort, slices.DeleteFunc(slices.Clone(b.workloads), func(w *cluster.Workload) bool { return w.Node == b.Nodes[0] })...)
}

// TestForwarderCleanup is TestDown for a forwarder of its own.
func TestForwarderCleanup(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	b := newCluster(t, cluster.Options{}, cluster.ReplicaOptions{})
	b.start()
	n := b.Nodes[0]
	check := exec.Command(weftBinary(t), "check", "--socket", n.Socket("forwarder-admin"))
	if out, err := check.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "no differences" {
		t.Errorf("weft check of the forwarder: %v, %s", err, out)
	}
	cleanup := func(more ...string) (string, error) {
		args := append([]string{"cluster-process", "--"}, n.ForwarderCommand()...)
		cmd := exec.Command(weftBinary(t), append(append(args, "--cleanup"), more...)...)
		cmd.Env = append(os.Environ(), n.ForwarderEnvironment()...)
		_, err := cmd.StdinPipe() // it ends with its input
		must(t, err)
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &out
		must(t, netns.Do(n.NetNS, cmd.Start))
		err = cmd.Wait()
		return out.String(), err
	}
	if out, err := cleanup(); err == nil || !strings.Contains(out, "it runs: somebody answers on") {
		t.Errorf("cleanup while it runs: %v, %s", err, out)
	}
	must(t, n.Processes[cluster.Forwarder].Kill())
	if out, err := cleanup("--dry-run"); err != nil || !strings.Contains(out, "would remove pin ") {
		t.Errorf("dry run: %v, %s", err, out)
	}
	b.reach(webPort, b.workloads...)
	if out, err := cleanup(); err != nil || !strings.Contains(out, "removed pin ") {
		t.Errorf("cleanup: %v, %s", err, out)
	}
	if out, err := cleanup(); err != nil || !strings.Contains(out, "nothing to remove") {
		t.Errorf("a second cleanup: %v, %s", err, out)
	}
	b.empty(n)
}

// weftIn runs a command in a node's namespace, with its configuration.
func weftIn(b *bed, n *cluster.Node, args ...string) (string, error) {
	args = slices.Insert(args, 1, "--config", filepath.Join(n.Dir, "up.yaml"))
	cmd := exec.Command(weftBinary(b.t), args...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := netns.Do(n.NetNS, cmd.Start); err != nil {
		return "", err
	}
	err := cmd.Wait()
	if err != nil {
		err = fmt.Errorf("weft %s: %w: %s", strings.Join(args, " "), err, out.String())
	}
	return out.String(), err
}

// configure changes the configuration of all nodes before their first start.
func (b *bed) configure(change func(*up.Config)) {
	b.t.Helper()
	for _, n := range b.Nodes {
		path := filepath.Join(n.Dir, "up.yaml")
		config, err := up.Load(path)
		must(b.t, err)
		change(&config)
		data, err := yaml.Marshal(config)
		must(b.t, err)
		must(b.t, os.WriteFile(path, data, 0o600))
	}
}

// empty fails when a node has anything of ours.
func (b *bed) empty(n *cluster.Node) {
	b.t.Helper()
	links, err := testutil.Handle(b.t, n.NetNS).Links()
	must(b.t, err)
	for _, link := range links {
		if link.Alias != "" || strings.HasPrefix(link.Name, "weft") {
			b.t.Errorf("%s: interface %s remains", n.Name, link.Name)
		}
	}
	if _, err := os.Stat(n.PinDir()); !os.IsNotExist(err) {
		b.t.Errorf("%s: pins remain: %v", n.Name, err)
	}
	for _, r := range b.replicas {
		if r.Node == n {
			b.onlyExternal(r)
		}
	}
	for _, w := range b.workloads {
		if w.Node != n {
			continue
		}
		h := testutil.Handle(b.t, w.NetNS)
		links, err := h.Links()
		must(b.t, err)
		rules, err := h.Rules()
		must(b.t, err)
		if len(links) != 1 || len(rules) != 0 {
			b.t.Errorf("%s: interfaces %v and rules %v remain", w.Name, links, rules)
		}
	}
}

func (b *bed) onlyExternal(r *cluster.Replica) {
	b.t.Helper()
	h := testutil.Handle(b.t, r.NetNS)
	links, err := h.Links()
	must(b.t, err)
	for _, link := range links {
		if link.Name != "lo" && link.Name != cluster.External || link.AllMulticast {
			b.t.Errorf("%s: interface %s remains, or as it was", r.Name, link.Name)
		}
	}
}

// objectsOf adds the BPF objects that a process holds.
func objectsOf(t testing.TB, objects bpf.Objects, pid int) bpf.Objects {
	t.Helper()
	ids := map[string]bool{} // kind and number
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	must(t, err)
	for _, path := range files {
		file, err := os.Open(path)
		if err != nil {
			continue // closed meanwhile
		}
		for lines := bufio.NewScanner(file); lines.Scan(); {
			if kind, id, ok := strings.Cut(lines.Text(), "_id:\t"); ok {
				ids[map[string]string{"prog": "program", "map": "map"}[kind]+id] = true
			}
		}
		_ = file.Close()
	}
	all, err := bpf.Of("")
	must(t, err)
	if objects == nil {
		objects = bpf.Objects{}
	}
	for object := range all {
		if ids[object.Kind+fmt.Sprint(object.ID)] {
			objects[object] = true
		}
	}
	return objects
}
