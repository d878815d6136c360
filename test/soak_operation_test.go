// SPDX-License-Identifier: Apache-2.0

package test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weft-project/weft/deployments/examples"
	"github.com/weft-project/weft/internal/cluster"
	agentv1 "github.com/weft-project/weft/pkg/api/agent/v1"
)

const (
	secondNIC      = "nsm-2"
	soakWorkloads  = 9 // at most
	operationTime  = 8 * time.Second
	operationsMost = 6 // per round
)

// soakWorkload is a workload and what is wanted of it.
type soakWorkload struct {
	*cluster.Workload
	wanted map[string]*wantedNIC // by interface
	own    []string              // interfaces that it had before
}

// wantedNIC is an attachment. An operation that failed leaves open what is
// wanted: the agent is asked then.
type wantedNIC struct {
	streams        []string
	drain          bool
	gone, unsure   bool
	lastFailureWas error
}

// operations does some random ones after each other.
func (s *soak) operations(random *rand.Rand) {
	for range 2 + random.IntN(operationsMost-1) {
		w := s.workloads[random.IntN(len(s.workloads))]
		iface := []string{nic, nic, secondNIC}[random.IntN(3)]
		switch kind, wanted := random.IntN(10), w.wanted[iface]; {
		case kind == 0 && len(s.workloads) < soakWorkloads:
			s.newWorkload(s.Nodes[random.IntN(len(s.Nodes))])
		case kind == 1 && len(s.workloads) > 3:
			s.bury(w)
		case kind == 2:
			s.resources([]string{"", "web", "api"}[random.IntN(3)])
		case wanted == nil:
			streams := [][]string{{"web"}, {"web", "api"}, {}}[random.IntN(3)]
			if iface == secondNIC {
				streams = nil // the workload answers by its first interface
			}
			_ = s.attach(w, iface, streams...)
		case wanted.gone || wanted.unsure: // decided when things have settled
		case kind < 5:
			s.detach(w, iface)
		case iface == secondNIC: // is of no stream
		case kind < 8:
			s.toggle(w, iface, []string{"web", "api"}[random.IntN(2)])
		default:
			s.drain(w, iface)
		}
		pause(time.Duration(random.IntN(300)) * time.Millisecond)
	}
}

func (s *soak) newWorkload(n *cluster.Node) {
	s.born++
	name := fmt.Sprintf("w%d", s.born)
	w, err := n.AddWorkload(s.ctx, name, webPort, apiPort)
	if err != nil {
		s.t.Errorf("add workload %s: %v", name, err)
		return
	}
	s.note("birth", "of %s on %s", name, n.Name)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.workloads = append(s.workloads, &soakWorkload{Workload: w, wanted: map[string]*wantedNIC{}, own: linksOf(s.t, w.NetNS)})
}

func (s *soak) bury(w *soakWorkload) {
	s.note("death", "of %s", w.Name)
	s.mu.Lock()
	s.workloads = slices.DeleteFunc(s.workloads, func(other *soakWorkload) bool { return other == w })
	s.mu.Unlock()
	check(s.t, w.Die())
}

// do makes a call; an error leaves open what has become of it.
func (s *soak) do(w *soakWorkload, iface, what string, call func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(s.ctx, operationTime)
	defer cancel()
	err := call(ctx)
	s.mu.Lock()
	if n := w.wanted[iface]; err != nil && n != nil {
		n.unsure, n.lastFailureWas = true, err
	}
	s.mu.Unlock()
	kind := "done"
	if err != nil {
		kind = "failed"
	}
	s.note(kind, "%s %s: %v", what, w.Attachment(iface), err)
	return err
}

func (s *soak) attach(w *soakWorkload, iface string, streams ...string) error {
	s.mu.Lock()
	w.wanted[iface] = &wantedNIC{streams: streams}
	s.mu.Unlock()
	return s.do(w, iface, fmt.Sprintf("attach %v", streams), func(ctx context.Context) error {
		_, err := w.Attach(ctx, "lb.trench-a", iface, streams...)
		return err
	})
}

func (s *soak) detach(w *soakWorkload, iface string) {
	s.mu.Lock()
	w.wanted[iface].gone = true
	s.mu.Unlock()
	err := s.do(w, iface, "detach", func(ctx context.Context) error { return w.Detach(ctx, iface) })
	if err == nil {
		s.mu.Lock()
		delete(w.wanted, iface)
		s.mu.Unlock()
	}
}

func (s *soak) toggle(w *soakWorkload, iface, stream string) {
	wanted := w.wanted[iface]
	join, leave, after := []string{stream}, []string(nil), append(slices.Clone(wanted.streams), stream)
	if slices.Contains(wanted.streams, stream) {
		join, leave = nil, join
		after = slices.DeleteFunc(slices.Clone(wanted.streams), func(other string) bool { return other == stream })
	}
	s.change(w, iface, &agentv1.UpdateRequest{JoinStreams: join, LeaveStreams: leave}, func() { wanted.streams = after })
}

func (s *soak) drain(w *soakWorkload, iface string) {
	wanted := w.wanted[iface]
	value := map[bool]string{true: "true", false: "false"}[!wanted.drain]
	s.change(w, iface, &agentv1.UpdateRequest{SetLabels: map[string]string{"drain": value}}, func() { wanted.drain = !wanted.drain })
}

func (s *soak) change(w *soakWorkload, iface string, request *agentv1.UpdateRequest, done func()) {
	request.Name, request.Wait, request.WaitTimeout = w.Attachment(iface), true, durationpb.New(operationTime)
	what := fmt.Sprintf("join %v leave %v set %v", request.JoinStreams, request.LeaveStreams, request.SetLabels)
	err := s.do(w, iface, what, func(ctx context.Context) error {
		_, err := w.Agent.Update(ctx, request)
		return err
	})
	if err == nil {
		s.mu.Lock()
		done()
		s.mu.Unlock()
	}
}

// extraPort is of the flow that comes and goes.
const extraPort = 7000

// resources changes the file that the load balancers follow.
func (s *soak) resources(stream string) {
	s.note("resources", "flow to %q", stream)
	s.mu.Lock()
	s.extra = stream
	s.mu.Unlock()
	text := string(examples.Demo)
	if stream != "" {
		text += fmt.Sprintf(`
---
apiVersion: weft.dev/v1alpha1
kind: Flow
metadata: {name: extra, namespace: trench-a, labels: {trench: trench-a}}
spec:
  stream: %s
  priority: 7
  vips: [vip-v4, vip-v6]
  source-subnets: [0.0.0.0/0, "::/0"]
  source-ports: [any]
  destination-ports: ["%d"]
  protocols: [udp]
`, stream, extraPort)
	}
	file := filepath.Join(s.Dir, "resources.yaml")
	check(s.t, os.WriteFile(file+".new", []byte(text), 0o644))
	check(s.t, os.Rename(file+".new", file))
}

// decide asks the agents what has become of operations that failed.
func (s *soak) decide() (problems []string) {
	for _, w := range s.workloads {
		for _, iface := range slices.Sorted(maps.Keys(w.wanted)) {
			wanted := w.wanted[iface]
			if !wanted.unsure {
				continue
			}
			if err := s.decideOne(w, iface, wanted); err != nil {
				problems = append(problems, fmt.Sprintf("%s: %v (after %v)", w.Attachment(iface), err, wanted.lastFailureWas))
			}
		}
	}
	return problems
}

func (s *soak) decideOne(w *soakWorkload, iface string, wanted *wantedNIC) error {
	ctx, cancel := context.WithTimeout(s.ctx, operationTime)
	defer cancel()
	if wanted.gone {
		if err := w.Detach(ctx, iface); err != nil && status.Code(err) != codes.NotFound {
			return err
		}
		s.mu.Lock()
		delete(w.wanted, iface)
		s.mu.Unlock()
		return nil
	}
	response, err := w.Agent.List(ctx, &agentv1.ListRequest{})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range response.GetAttachments() {
		if a.GetSpec().GetName() == w.Attachment(iface) {
			for _, c := range a.GetStatus().GetConditions() {
				if c.GetReason() == "Detaching" {
					return fmt.Errorf("it is being removed: %s", c.GetMessage())
				}
			}
			wanted.streams, wanted.drain, wanted.unsure = a.GetSpec().GetStreams(), a.GetSpec().GetLabels()["drain"] == "true", false
			return nil
		}
	}
	delete(w.wanted, iface)
	return nil
}
