// SPDX-License-Identifier: Apache-2.0

package test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/weft-project/weft/internal/balancer"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
	agentv1 "github.com/weft-project/weft/pkg/api/agent/v1"
)

// state is everything that a refused request must not change.
type state struct {
	Attachments []*agentv1.Attachment
	Resources   string
	Balancers   map[string]balancer.Snapshot
	Namespaces  map[string][]string // what is in each one
}

// settled returns the state when it does not change any more.
func (s *stack) settled(workloads ...*workload) state {
	s.t.Helper()
	// What follows from targets, as announcements, comes with the next probe.
	const looks = 10
	now, same := s.state(workloads...), 0
	testutil.Eventually(s.t, patience, "a state that stays", func() bool {
		before := now
		now = s.state(workloads...)
		if same++; cmp.Diff(before, now, sameState...) != "" {
			same = 0
		}
		return same >= looks
	})
	return now
}

// sameState leaves out how often and when an attachment was changed: what is
// taken back was a change, too.
var sameState = cmp.Options{
	protocmp.Transform(), cmpopts.EquateEmpty(),
	protocmp.IgnoreFields(&agentv1.Attachment{}, "generation"),
	protocmp.IgnoreFields(&agentv1.AttachmentStatus{}, "observed_generation"),
	protocmp.IgnoreFields(&agentv1.Condition{}, "last_transition"),
	protocmp.IgnoreFields(&agentv1.Leg{}, "since"),
	protocmp.IgnoreFields(&agentv1.StreamStatus{}, "since"),
}

func (s *stack) state(workloads ...*workload) state {
	s.t.Helper()
	now := state{Balancers: map[string]balancer.Snapshot{}, Namespaces: map[string][]string{}}
	list, err := s.admin.List(within(s.t), &agentv1.ListRequest{})
	must(s.t, err)
	now.Attachments = list.GetAttachments()
	resources := s.weft(s.AdminSocket(), "", "get", "all", "-o", "yaml")
	if resources.code != 0 {
		s.t.Fatal(resources.err)
	}
	now.Resources = resources.out
	paths := map[string]string{"host": s.host}
	for _, r := range s.replicas {
		now.Balancers[r.name] = r.Component().Balancer().Snapshot()
		paths[r.name] = r.netns
	}
	for _, w := range workloads {
		paths[w.name] = w.netns
	}
	for name, path := range paths {
		now.Namespaces[name] = inventory(s.t, path)
	}
	return now
}

// unchanged fails when the state is not soon as it was. Whether anything was
// noticed meanwhile is for the traffic to tell.
func (s *stack) unchanged(before state, what string, workloads ...*workload) {
	s.t.Helper()
	var diff string
	deadline := time.Now().Add(soon)
	for diff = "unknown"; diff != "" && time.Now().Before(deadline); {
		diff = cmp.Diff(before, s.state(workloads...), sameState...)
	}
	if diff != "" {
		s.t.Errorf("%s changed something:\n%s", what, diff)
	}
}

// soon is the time for what happens behind an answer.
const soon = 2 * time.Second

// inventory lists a namespace's interfaces with their addresses and neighbours,
// and the routes and rules of ours.
func inventory(t testing.TB, path string) (found []string) {
	t.Helper()
	withHandle(t, path, func(h *nl.Handle) {
		links, err := h.Links()
		must(t, err)
		for _, l := range links {
			l.CarrierDowns = 0 // history, not state
			found = append(found, fmt.Sprintf("link %+v", l))
			addresses, err := h.Addresses(l.Index)
			must(t, err)
			for _, a := range addresses {
				found = append(found, fmt.Sprintf("address %s on %s", a, l.Name))
			}
			neighbours, err := h.Neighbours(l.Index)
			must(t, err)
			for _, n := range neighbours {
				found = append(found, fmt.Sprintf("neighbour %s %s on %s", n.IP, n.MAC, l.Name))
			}
		}
		found = append(found, routing(t, h)...)
	})
	slices.Sort(found)
	return found
}

// routing lists the rules and routes of ours.
func routing(t testing.TB, h *nl.Handle) (found []string) {
	t.Helper()
	rules, err := h.Rules()
	must(t, err)
	tables := map[int]bool{0: true}
	for _, r := range rules {
		found = append(found, fmt.Sprintf("rule %+v", r))
		tables[r.Table] = true
	}
	for _, table := range slices.Sorted(maps.Keys(tables)) {
		routes, err := h.Routes(table)
		must(t, err)
		for _, r := range routes {
			found = append(found, fmt.Sprintf("route %+v", r))
		}
	}
	return found
}
