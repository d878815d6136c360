// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/weft-project/weft/internal/app/endpoint"
	agentv1 "github.com/weft-project/weft/pkg/api/agent/v1"
)

// shares returns the slots that stream web's table gives to each target.
func shares(c *endpoint.Component) map[string]int {
	s := c.Balancer().Snapshot().Stream("web")
	shares := map[string]int{}
	for i, name := range s.Targets {
		shares[name] = s.Slots[i]
	}
	return shares
}

// wantShares compares the shares of targets a and b with their weights. The
// tables have 4099 slots; each share may be 3/2 from the ideal.
func wantShares(t *testing.T, c *endpoint.Component, a, b int) {
	t.Helper()
	got := shares(c)
	for name, weight := range map[string]int{"node-1/a": a, "node-1/b": b} {
		ideal := float64(4099*weight) / float64(a+b)
		if n := float64(got[name]); n < ideal-1.5 || n > ideal+1.5 {
			t.Errorf("%s has %v slots, want %v", name, n, ideal)
		}
	}
}

// attachWeighed attaches a new workload that answers to stream web.
func (m *machine) attachWeighed(name string, labels map[string]string) (agentv1.AgentClient, *agentv1.Interface) {
	m.t.Helper()
	w := m.workload()
	m.answer(w)
	client := agentv1.NewAgentClient(w)
	request := attachRequest(name, "web")
	request.Spec.Labels = labels
	response, err := client.Attach(within(m.t), request)
	if err != nil {
		m.t.Fatal(err)
	}
	return client, response.GetAttachment().GetStatus().GetInterface()
}

// TestEndToEndWeight: a workload's weight and draining change in every replica's
// table while it is attached, and nothing changes on its interface. What is in
// force is so when Update returns.
func TestEndToEndWeight(t *testing.T) {
	m := newMachine(t)
	one, two := m.addReplica(), m.addReplica()
	client, before := m.attachWeighed("a", map[string]string{"weight": "3"})
	m.attachWeighed("b", nil)
	for _, replica := range m.replicas {
		waitFor(t, replica, hasTarget("web", "node-1/a"))
		waitFor(t, replica, hasTarget("web", "node-1/b"))
	}
	update := func(request *agentv1.UpdateRequest) {
		t.Helper()
		request.Name, request.Wait = "a", true
		response, err := client.Update(within(t), request)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, response.GetAttachment().GetStatus().GetInterface(), protocmp.Transform()); diff != "" {
			t.Errorf("the interface has changed: %s", diff)
		}
	}
	want := func(a, b int) {
		t.Helper()
		for _, replica := range m.replicas {
			wantShares(t, replica, a, b)
		}
		if diff := cmp.Diff(shares(one), shares(two)); diff != "" {
			t.Errorf("the replicas differ: %s", diff)
		}
		m.exchange()
	}
	want(3, 1)
	update(&agentv1.UpdateRequest{SetLabels: map[string]string{"weight": "7"}})
	want(7, 1)
	update(&agentv1.UpdateRequest{SetLabels: map[string]string{"drain": "true"}})
	want(0, 1)
	for _, replica := range m.replicas {
		if s := replica.Balancer().Snapshot().Target("node-1/a"); !s.Draining || s.Weight != 7 || !s.Placed {
			t.Errorf("the draining target is %+v", s)
		}
	}
	update(&agentv1.UpdateRequest{UnsetLabels: []string{"drain"}})
	want(7, 1)
	update(&agentv1.UpdateRequest{SetLabels: map[string]string{"weight": "0"}})
	want(0, 1)
	update(&agentv1.UpdateRequest{UnsetLabels: []string{"weight"}})
	want(1, 1)
	for _, bad := range []string{"1001", "", "many"} {
		_, err := client.Update(within(t), &agentv1.UpdateRequest{Name: "a", SetLabels: map[string]string{"weight": bad}, Wait: true})
		if status.Code(err) != codes.InvalidArgument || status.Convert(err).Message() != fmt.Sprintf("labels[weight]: %q is not a whole number from 0 to 1000", bad) {
			t.Errorf("weight %q: %v", bad, err)
		}
	}
	want(1, 1)
}
