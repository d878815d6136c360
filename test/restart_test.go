// SPDX-License-Identifier: Apache-2.0

package test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/weft-project/weft/internal/app/agent"
	agentv1 "github.com/weft-project/weft/pkg/api/agent/v1"
)

// TestAgentRestart: an agent that ends and comes back loses no packet of its
// attachments and leaves their interfaces alone; meanwhile they can neither be
// seen nor changed, afterwards they can.
func TestAgentRestart(t *testing.T) {
	s := newStack(t)
	o := newSite(t, 1)
	s.addReplica(o, "trench-a", 1)
	s.addReplica(o, "trench-a", 2)
	o.use([]byte{1, 2})
	// An agent of its own beside that of the stack, on the same mesh.
	config := agent.Config{
		Node: "node-1", Name: "restarting", ConnectTo: s.nsmgr(),
		Socket: filepath.Join(s.dir, "agent2.sock"), AdminSocket: filepath.Join(s.dir, "admin2.sock"), StateDir: filepath.Join(s.dir, "agent2"),
	}
	running, err := agent.Start(context.Background(), config, agent.Deps{})
	must(t, err)
	t.Cleanup(func() { check(t, running.Stop()) })
	w1, w2 := s.addWorkloadOf(config.Socket, "w1"), s.addWorkloadOf(config.Socket, "w2")
	for _, w := range []*workload{w1, w2} {
		w.attach("trench-a", "web")
	}
	s.awaitTargets("trench-a", "web", w1, w2)
	before := s.settled(w1, w2)
	seen := w1.ready("trench-a")
	l := o.load(destinations(webPort)...)

	must(t, running.Stop())
	l.untouched("without the agent")
	s.unchanged(before, "the end of the agent", w1, w2)
	running, err = agent.Start(context.Background(), config, agent.Deps{})
	must(t, err)
	if diff := cmp.Diff(seen.GetStatus().GetInterface(), w1.ready("trench-a").GetStatus().GetInterface(), protocmp.Transform()); diff != "" {
		t.Errorf("the agent sees another interface:\n%s", diff)
	}
	w2.ready("trench-a")
	s.unchanged(before, "the restart", w1, w2)
	l.untouched("the restart of the agent")

	w1.update("trench-a", []string{"api"}, nil)
	s.awaitTargets("trench-a", "api", w1)
	l.untouched("joining a stream after it")
	o.reach(apiPort, w1)
}

// ready waits until the workload's attachment is ready over all its legs.
func (w *workload) ready(trench string) *agentv1.Attachment {
	w.stack.t.Helper()
	return watch(w.stack.t, w.agent, w.attachment(trench), "all legs to stand", func(a *agentv1.Attachment) bool {
		for _, c := range a.GetStatus().GetConditions() {
			if c.GetType() == "Ready" {
				return c.GetStatus() == agentv1.Condition_TRUE && c.GetReason() == "AllLegs" && len(a.GetStatus().GetLegs()) > 0
			}
		}
		return false
	})
}
