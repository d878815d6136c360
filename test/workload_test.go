// SPDX-License-Identifier: Apache-2.0

package test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/traffic"
	agentv1 "github.com/weft-project/weft/pkg/api/agent/v1"
	ambassadorv1 "github.com/weft-project/weft/pkg/api/ambassador/v1"
)

// children are what the test binary is when a test starts it as a process of
// its own, by the first argument.
var children = map[string]func(args []string) error{
	workloadChild: runWorkload,
	replicaChild:  runReplica,
}

const (
	workloadChild = "e2e-workload"
	ready         = "ready\n"
)

// runWorkload is an ordinary server, and next to it a relay to the agent's
// socket: the agent takes the caller's namespace from the kernel, so that what
// the test sends through the relay comes from the workload.
func runWorkload(args []string) error {
	name, relayAt, agentSocket := args[0], args[1], args[2]
	var ports []uint16
	for _, arg := range args[3:] {
		var port uint16
		if _, err := fmt.Sscan(arg, &port); err != nil {
			return fmt.Errorf("port %q: %w", arg, err)
		}
		ports = append(ports, port)
	}
	if _, err := traffic.Serve(name, ports...); err != nil {
		return err
	}
	listener, err := net.Listen("unix", relayAt)
	if err != nil {
		return err
	}
	go relay(listener, agentSocket)
	fmt.Print(ready)
	_, err = io.Copy(io.Discard, os.Stdin) // ends with the test
	return err
}

func relay(listener net.Listener, to string) {
	for {
		near, err := listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("unix", to)
		if err != nil {
			_ = near.Close()
			continue
		}
		for _, pair := range [][2]net.Conn{{near, far}, {far, near}} {
			go func() {
				_, _ = io.Copy(pair[0], pair[1])
				_ = pair[0].Close()
			}()
		}
	}
}

// startChild runs a child in a namespace and waits until it is ready. The
// returned function kills it.
func startChild(t testing.TB, path, kind string, args ...string) (kill func()) {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	cmd := exec.Command(self, append([]string{kind}, args...)...)
	cmd.Stderr = os.Stderr
	_, err = cmd.StdinPipe()
	must(t, err)
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	must(t, netns.Do(path, cmd.Start))
	killed := false
	kill = func() {
		if !killed {
			killed = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait() // "signal: killed", as wished; closes the pipes
		}
	}
	t.Cleanup(kill)
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != ready {
		t.Fatalf("%s %v did not start: %q, %v", kind, args, line, err)
	}
	return kill
}

// workload is a running server in a namespace of its own.
type workload struct {
	stack       *stack
	name, netns string
	socket      string // the agent's as the workload sees it
	agent       agentv1.AgentClient
	tap         ambassadorv1.TapClient
	kill        func()
	dead        bool
}

// addWorkload starts a server on the ports of the example's streams and more.
func (s *stack) addWorkload(name string, morePorts ...string) *workload {
	s.t.Helper()
	return s.addWorkloadOf(s.WorkloadSocket(), name, morePorts...)
}

// addWorkloadOf is addWorkload for another agent.
func (s *stack) addWorkloadOf(agentSocket, name string, morePorts ...string) *workload {
	s.t.Helper()
	w := &workload{stack: s, name: name, netns: testutil.NetNS(s.t), socket: filepath.Join(s.dir, "relay-"+name)}
	ports := append([]string{fmt.Sprint(webPort), fmt.Sprint(apiPort)}, morePorts...)
	w.kill = startChild(s.t, w.netns, workloadChild, append([]string{name, w.socket, agentSocket}, ports...)...)
	conn := s.dial(w.socket)
	w.agent, w.tap = agentv1.NewAgentClient(conn), ambassadorv1.NewTapClient(conn)
	s.t.Cleanup(w.cleanup)
	return w
}

// addWorkloads is addWorkload for several names.
func (s *stack) addWorkloads(names ...string) (all []*workload) {
	s.t.Helper()
	for _, name := range names {
		all = append(all, s.addWorkload(name))
	}
	return all
}

// cleanup detaches what is attached and checks that the workload is then as it
// was before.
func (w *workload) cleanup() {
	if w.dead {
		return
	}
	t := w.stack.t
	list, err := w.agent.List(within(t), &agentv1.ListRequest{})
	if err != nil {
		t.Error(err)
		return
	}
	for _, a := range list.GetAttachments() {
		_, err := w.agent.Detach(within(t), &agentv1.DetachRequest{Name: a.GetSpec().GetName()})
		check(t, err)
	}
	w.pristine()
}

// die ends the process and its namespace.
func (w *workload) die() {
	w.stack.t.Helper()
	w.dead = true
	testutil.DeleteNetNS(w.stack.t, w.netns)
	w.kill()
}

// pristine fails when anything of Weft is in the workload's namespace.
func (w *workload) pristine() {
	t := w.stack.t
	t.Helper()
	if links := linksOf(t, w.netns); !slices.Equal(links, []string{"lo"}) {
		t.Errorf("%s has interfaces %v after everything is detached", w.name, links)
	}
	withHandle(t, w.netns, func(h *nl.Handle) {
		if found := routing(t, h); len(found) != 0 {
			t.Errorf("%s has routes and rules after everything is detached: %v", w.name, found)
		}
	})
}

// target is the name of the workload's attachment in a trench as a target.
func (w *workload) target(trench string) string { return "node-1/" + w.attachment(trench) }

// attachment is the name of the workload's attachment to a trench.
func (w *workload) attachment(trench string) string { return w.name + "-" + trench }

func (w *workload) spec(trench string, streams ...string) *agentv1.AttachmentSpec {
	iface := nic
	if trench != "trench-a" {
		iface = "nsm-2"
	}
	return &agentv1.AttachmentSpec{
		Name: w.attachment(trench), NetworkService: "lb." + trench, Interface: iface, Streams: streams,
	}
}

// attach attaches and waits.
func (w *workload) attach(trench string, streams ...string) *agentv1.Attachment {
	w.stack.t.Helper()
	response, err := w.agent.Attach(within(w.stack.t), &agentv1.AttachRequest{Spec: w.spec(trench, streams...), Wait: true})
	must(w.stack.t, err)
	return response.GetAttachment()
}

func (w *workload) detach(trench string) {
	w.stack.t.Helper()
	_, err := w.agent.Detach(within(w.stack.t), &agentv1.DetachRequest{Name: w.attachment(trench)})
	must(w.stack.t, err)
}

// update joins and leaves streams and waits.
func (w *workload) update(trench string, join, leave []string) {
	w.stack.t.Helper()
	_, err := w.agent.Update(within(w.stack.t), &agentv1.UpdateRequest{
		Name: w.attachment(trench), JoinStreams: join, LeaveStreams: leave, Wait: true,
	})
	must(w.stack.t, err)
}

// watch reads the agent's Watch until an attachment is as wanted.
func watch(t testing.TB, client agentv1.AgentClient, name, what string, ok func(*agentv1.Attachment) bool) *agentv1.Attachment {
	t.Helper()
	stream, err := client.Watch(within(t), &agentv1.WatchRequest{Name: name})
	must(t, err)
	var last *agentv1.Attachment
	for {
		response, err := stream.Recv()
		if err != nil {
			t.Fatalf("wait for %s: %v; last seen %v", what, err, last)
		}
		for _, last = range response.GetAttachments() {
			if ok(last) {
				return last
			}
		}
	}
}
