// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weft-project/weft/internal/testutil"
	agentv1 "github.com/weft-project/weft/pkg/api/agent/v1"
	ambassadorv1 "github.com/weft-project/weft/pkg/api/ambassador/v1"
)

func stream(name, conduit, trench string) *ambassadorv1.Stream {
	return &ambassadorv1.Stream{Name: name, Conduit: &ambassadorv1.Conduit{Name: conduit, Trench: &ambassadorv1.Trench{Name: trench}}}
}

func show(response *ambassadorv1.StreamResponse) []string {
	out := []string{}
	for _, s := range response.GetStreamStatus() {
		out = append(out, fmt.Sprintf("%s.%s.%s %s", s.GetStream().GetName(), s.GetStream().GetConduit().GetName(),
			s.GetStream().GetConduit().GetTrench().GetName(), s.GetStatus()))
	}
	slices.Sort(out)
	return out
}

// waitStatus reads a Watch until it says what is wanted, and returns all that
// it said.
func waitStatus(t *testing.T, client ambassadorv1.TapClient, filter *ambassadorv1.Stream, want ...string) [][]string {
	t.Helper()
	watch, err := client.Watch(within(t), filter)
	if err != nil {
		t.Fatal(err)
	}
	var said [][]string
	for {
		response, err := watch.Recv()
		if err != nil {
			t.Fatalf("%v; it said %v, want %v", err, said, want)
		}
		said = append(said, show(response))
		if slices.Equal(said[len(said)-1], want) {
			return said
		}
	}
}

func open(t *testing.T, client ambassadorv1.TapClient, s *ambassadorv1.Stream) {
	t.Helper()
	if _, err := client.Open(within(t), s); err != nil {
		t.Fatal(err)
	}
}

func closeStream(t *testing.T, client ambassadorv1.TapClient, s *ambassadorv1.Stream) {
	t.Helper()
	if _, err := client.Close(within(t), s); err != nil {
		t.Fatal(err)
	}
}

func TestTapLifeOfStreams(t *testing.T) {
	testutil.Require(t, "netns")
	testutil.CheckLeaks(t)
	f := newFixture(t)
	f.endpoint("lb-1", "lb.trench-a")
	f.endpoint("lb-2", "lb.trench-a")
	f.endpoint("fw-1", "fw.trench-a")
	w := f.workload()
	client := ambassadorv1.NewTapClient(w)
	said := waitStatus(t, client, &ambassadorv1.Stream{})
	if len(said) != 1 {
		t.Errorf("before any Open the first message is %v", said)
	}

	open(t, client, stream("web", "lb", "trench-a"))
	waitStatus(t, client, &ambassadorv1.Stream{}, "web.lb.trench-a OPEN")
	before := f.connectionIDs()
	open(t, client, stream("web", "lb", "trench-a")) // again: nothing happens
	open(t, client, stream("dns", "lb", "trench-a"))
	waitStatus(t, client, &ambassadorv1.Stream{}, "dns.lb.trench-a OPEN", "web.lb.trench-a OPEN")
	if diff := cmp.Diff([]string{"lb-1 [dns web]", "lb-2 [dns web]"}, f.joined()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(before, f.connectionIDs()); diff != "" {
		t.Errorf("the second stream was not joined in place: %s", diff)
	}

	open(t, client, stream("web", "fw", "trench-a"))
	waitStatus(t, client, nil, "dns.lb.trench-a OPEN", "web.fw.trench-a OPEN", "web.lb.trench-a OPEN")
	waitStatus(t, client, &ambassadorv1.Stream{Name: "web"}, "web.fw.trench-a OPEN", "web.lb.trench-a OPEN")
	waitStatus(t, client, stream("", "fw", ""), "web.fw.trench-a OPEN")
	waitStatus(t, client, stream("", "", "trench-b"))

	closeStream(t, client, stream("web", "fw", "trench-a"))
	closeStream(t, client, stream("web", "lb", "trench-a"))
	waitStatus(t, client, &ambassadorv1.Stream{}, "dns.lb.trench-a OPEN")
	closeStream(t, client, stream("nope", "lb", "trench-a")) // not open: nothing happens
	closeStream(t, client, stream("dns", "lb", "trench-a"))
	waitStatus(t, client, &ambassadorv1.Stream{})
	if left := f.joined(); len(left) != 0 {
		t.Errorf("%v remain", left)
	}
	open(t, client, stream("dns", "lb", "trench-b")) // the first trench is left
	closeStream(t, client, stream("dns", "lb", "trench-b"))
	f.checkNoState()
}

func (f *fixture) connectionIDs() []string {
	f.forwarder.mu.Lock()
	defer f.forwarder.mu.Unlock()
	var ids []string
	for id := range f.forwarder.connections {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// joined is what the forwarder's endpoints know, without targets.
func (f *fixture) joined() []string {
	var out []string
	for _, leg := range f.forwarder.all() {
		out = append(out, fmt.Sprintf("%s %v", leg.endpoint, leg.streams))
	}
	slices.Sort(out)
	return out
}

func TestTapStatuses(t *testing.T) {
	testutil.Require(t, "netns")
	testutil.CheckLeaks(t)
	f := newFixture(t)
	client := ambassadorv1.NewTapClient(f.workload())

	open(t, client, stream("web", "lb", "trench-a"))
	said := waitStatus(t, client, &ambassadorv1.Stream{}, "web.lb.trench-a UNAVAILABLE") // no endpoint
	if first := said[0][0]; first != "web.lb.trench-a PENDING" && first != "web.lb.trench-a UNAVAILABLE" {
		t.Errorf("first status is %s", first)
	}
	f.endpoint("lb-1", "lb.trench-a")
	waitStatus(t, client, &ambassadorv1.Stream{}, "web.lb.trench-a OPEN")

	open(t, client, stream("nope", "lb", "trench-a"))
	waitStatus(t, client, &ambassadorv1.Stream{}, "nope.lb.trench-a UNDEFINED", "web.lb.trench-a OPEN")
	open(t, client, stream("dns", "lb", "trench-a")) // is not kept out by the undefined one
	waitStatus(t, client, &ambassadorv1.Stream{},
		"dns.lb.trench-a OPEN", "nope.lb.trench-a UNDEFINED", "web.lb.trench-a OPEN")

	f.forwarder.set(func(f *fakeForwarder) { f.full = true })
	late := ambassadorv1.NewTapClient(f.workload())
	open(t, late, stream("web", "lb", "trench-a"))
	waitStatus(t, late, &ambassadorv1.Stream{}, "web.lb.trench-a UNAVAILABLE")
	f.forwarder.set(func(f *fakeForwarder) { f.full = false })
	waitStatus(t, late, &ambassadorv1.Stream{}, "web.lb.trench-a OPEN")
}

func TestTapRefusals(t *testing.T) {
	testutil.Require(t, "netns")
	testutil.CheckLeaks(t)
	f := newFixture(t)
	f.endpoint("lb-1", "lb.trench-a")
	client := ambassadorv1.NewTapClient(f.workload())
	for field, bad := range map[string]*ambassadorv1.Stream{
		"name":                stream("", "lb", "trench-a"),
		"conduit.name":        stream("web", "", "trench-a"),
		"conduit.trench.name": stream("web", "lb", ""),
	} {
		for call, fn := range map[string]func() error{
			"Open":  func() error { _, err := client.Open(within(t), bad); return err },
			"Close": func() error { _, err := client.Close(within(t), bad); return err },
		} {
			if err := fn(); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), field+":") {
				t.Errorf("%s without %s: %v", call, field, err)
			}
		}
	}
	open(t, client, stream("web", "lb", "trench-a"))
	_, err := client.Open(within(t), stream("web", "lb", "trench-b"))
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), `trench "trench-a" is connected already`) {
		t.Errorf("a second trench: %v", err)
	}
	waitStatus(t, client, &ambassadorv1.Stream{}, "web.lb.trench-a OPEN")
}

// TestTapLeavesOthersAlone: attachments of the workload API are not Tap's.
func TestTapLeavesOthersAlone(t *testing.T) {
	testutil.Require(t, "netns")
	testutil.CheckLeaks(t)
	f := newFixture(t)
	f.endpoint("lb-1", "lb.trench-b")
	f.endpoint("lb-2", "lb.trench-a")
	w := f.workload()
	request := attachRequest("a", "web")
	request.Spec.NetworkService = "lb.trench-b"
	if _, err := agentv1.NewAgentClient(w).Attach(within(t), request); err != nil {
		t.Fatal(err)
	}
	client := ambassadorv1.NewTapClient(w)
	open(t, client, stream("web", "lb", "trench-a"))
	waitStatus(t, client, &ambassadorv1.Stream{}, "web.lb.trench-a OPEN")
	closeStream(t, client, stream("web", "lb", "trench-b"))
	list, err := agentv1.NewAgentClient(w).List(within(t), &agentv1.ListRequest{})
	if err != nil || len(list.GetAttachments()) != 2 {
		t.Errorf("attachments are %v, %v", list, err)
	}
	var interfaces []string
	for _, a := range list.GetAttachments() {
		interfaces = append(interfaces, a.GetSpec().GetInterface())
	}
	slices.Sort(interfaces)
	if diff := cmp.Diff([]string{"nsm-1", "nsm-2"}, interfaces); diff != "" {
		t.Error(diff)
	}
}
