// SPDX-License-Identifier: Apache-2.0

package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weft-project/weft/internal/cli"
	agentv1 "github.com/weft-project/weft/pkg/api/agent/v1"
)

// refusals is a stack with w1 attached and under traffic, and w2, whose
// requests are refused.
type refusals struct {
	*stack
	w1, w2 *workload
	load   *load
}

func newRefusals(t *testing.T) *refusals {
	t.Helper()
	s := newStack(t)
	s.apply(streamAndFlow("single", 1, "7000"))
	o := newSite(t, 1)
	s.addReplica(o, "trench-a", 1)
	s.addReplica(o, "trench-a", 2)
	o.use([]byte{1, 2})
	f := &refusals{stack: s, w1: s.addWorkload("w1"), w2: s.addWorkload("w2")}
	f.w1.attach("trench-a", "single", "web")
	s.awaitTargets("trench-a", "web", f.w1)
	s.awaitTargets("trench-a", "single", f.w1)
	f.load = o.load(destinations(webPort)...)
	return f
}

// refused fails unless the error has the code and says all of the texts, and
// nothing has changed.
func (f *refusals) refused(t *testing.T, before state, err error, code codes.Code, texts ...string) {
	t.Helper()
	if status.Code(err) != code {
		t.Errorf("answer is %v, want %v", err, code)
	}
	for _, text := range texts {
		if !strings.Contains(status.Convert(err).Message(), text) {
			t.Errorf("answer is %q, want it to say %q", status.Convert(err).Message(), text)
		}
	}
	f.unchanged(before, t.Name(), f.w1, f.w2)
	f.load.untouched(t.Name())
}

// TestBadAttach: a request that cannot be granted is answered with the field
// and the reason, and leaves no trace.
func TestBadAttach(t *testing.T) {
	f := newRefusals(t)
	taken := f.w1.attachedAddresses("trench-a")[0]
	type spec = agentv1.AttachmentSpec
	for name, c := range map[string]struct {
		spec  *spec
		admin bool
		code  codes.Code
		texts []string
	}{
		"no specification": {nil, false, codes.InvalidArgument, []string{"spec: is needed"}},
		"no service":       {&spec{Name: "x"}, false, codes.InvalidArgument, []string{"network_service: is needed"}},
		"bad name": {&spec{Name: "No Good", NetworkService: "lb.trench-a"}, false,
			codes.InvalidArgument, []string{`name: "No Good"`, "lower-case"}},
		"taken name": {&spec{Name: "w1-trench-a", NetworkService: "lb.trench-a"}, false,
			codes.AlreadyExists, []string{`name: there is an attachment "w1-trench-a" already`}},
		"interface of 16 bytes": {&spec{NetworkService: "lb.trench-a", Interface: "interface-16-b16"}, false,
			codes.InvalidArgument, []string{`interface: "interface-16-b16" has 16 bytes`, "15"}},
		"taken interface": {&spec{NetworkService: "lb.trench-a", Interface: "lo"}, false,
			codes.AlreadyExists, []string{`interface: the namespace has an interface "lo" already`}},
		"not an address": {&spec{NetworkService: "lb.trench-a", Addresses: []string{"10.0.0"}}, false,
			codes.InvalidArgument, []string{`addresses: "10.0.0" is not an address`}},
		"duplicate address": {&spec{NetworkService: "lb.trench-a", Addresses: []string{"172.17.1.9", "172.17.1.9/32"}}, false,
			codes.InvalidArgument, []string{"addresses: 172.17.1.9/32 overlaps 172.17.1.9/32"}},
		"overlapping addresses": {&spec{NetworkService: "lb.trench-a", Addresses: []string{"172.17.1.9/32", "172.17.1.0/24"}}, false,
			codes.InvalidArgument, []string{"addresses: 172.17.1.0/24 overlaps 172.17.1.9/32"}},
		"foreign address": {&spec{NetworkService: "lb.trench-a", Addresses: []string{"192.0.2.1/32"}}, false,
			codes.InvalidArgument, []string{"addresses: 192.0.2.1/32"}},
		"address of another": {&spec{NetworkService: "lb.trench-a", Addresses: []string{taken}}, false,
			codes.AlreadyExists, []string{"addresses: ", strings.TrimSuffix(taken, "/32")}},
		"unknown stream": {&spec{NetworkService: "lb.trench-a", Streams: []string{"web", "nope"}}, false,
			codes.NotFound, []string{`streams: unknown stream "nope"`}},
		"full stream": {&spec{NetworkService: "lb.trench-a", Streams: []string{"single"}}, false,
			codes.ResourceExhausted, []string{`streams: stream "single" has its maximum of 1 targets`}},
		"unknown network": {&spec{NetworkService: "lb.nowhere", Streams: []string{"web"}}, false,
			codes.NotFound, []string{`network_service: "lb.nowhere" has no endpoint`}},
		"a workload names a namespace": {&spec{NetworkService: "lb.trench-a", Netns: f.w1.netns}, false,
			codes.PermissionDenied, []string{"netns: only the administrator's socket"}},
		"administrator names none": {&spec{NetworkService: "lb.trench-a"}, true,
			codes.InvalidArgument, []string{"netns: is needed"}},
		"relative namespace": {&spec{NetworkService: "lb.trench-a", Netns: "w2"}, true,
			codes.InvalidArgument, []string{`netns: "w2" is not an absolute path`}},
		"unknown namespace": {&spec{NetworkService: "lb.trench-a", Netns: "/run/netns/no-such"}, true,
			codes.NotFound, []string{"netns:", "/run/netns/no-such"}},
		"no namespace": {&spec{NetworkService: "lb.trench-a", Netns: "/proc/self/ns/mnt"}, true,
			codes.NotFound, []string{"netns:", "/proc/self/ns/mnt"}},
		"interface of another attachment": {&spec{NetworkService: "lb.trench-a", Netns: f.w1.netns, Interface: nic}, true,
			codes.AlreadyExists, []string{`interface:`, nic}},
	} {
		t.Run(name, func(t *testing.T) {
			before := f.settled(f.w1, f.w2)
			client := f.w2.agent
			if c.admin {
				client = f.admin
			}
			_, err := client.Attach(within(t), &agentv1.AttachRequest{
				Spec: c.spec, Wait: true, WaitTimeout: durationpb.New(time.Second),
			})
			f.refused(t, before, err, c.code, c.texts...)
		})
	}
}

// attachedAddresses returns what the workload's interface has, without VIPs.
func (w *workload) attachedAddresses(trench string) []string {
	w.stack.t.Helper()
	a := watch(w.stack.t, w.agent, w.attachment(trench), "addresses", func(a *agentv1.Attachment) bool {
		return len(a.GetStatus().GetInterface().GetAddresses()) > 0
	})
	return a.GetStatus().GetInterface().GetAddresses()
}

// TestBadChange: the same for changes of what stands.
func TestBadChange(t *testing.T) {
	f := newRefusals(t)
	f.w2.attach("trench-a", "api")
	f.awaitTargets("trench-a", "api", f.w2)
	name := f.w2.attachment("trench-a")
	for what, c := range map[string]struct {
		update *agentv1.UpdateRequest
		code   codes.Code
		texts  []string
	}{
		"unknown attachment": {&agentv1.UpdateRequest{Name: "nobody"}, codes.NotFound, []string{`name: there is no attachment "nobody"`}},
		"another's attachment": {&agentv1.UpdateRequest{Name: "w1-trench-a", LeaveStreams: []string{"web"}},
			codes.NotFound, []string{`name: there is no attachment "w1-trench-a"`}},
		"unknown stream": {&agentv1.UpdateRequest{Name: name, JoinStreams: []string{"nope"}}, codes.NotFound, []string{`streams: unknown stream "nope"`}},
		"bad stream":     {&agentv1.UpdateRequest{Name: name, JoinStreams: []string{"a/b"}}, codes.InvalidArgument, []string{`streams: "a/b"`}},
		"full stream":    {&agentv1.UpdateRequest{Name: name, JoinStreams: []string{"single"}}, codes.ResourceExhausted, []string{`stream "single" has its maximum of 1 targets`}},
	} {
		t.Run(what, func(t *testing.T) {
			before := f.settled(f.w1, f.w2)
			c.update.Wait = true
			_, err := f.w2.agent.Update(within(t), c.update)
			f.refused(t, before, err, c.code, c.texts...)
		})
	}
	t.Run("detach another's", func(t *testing.T) {
		before := f.settled(f.w1, f.w2)
		_, err := f.w2.agent.Detach(within(t), &agentv1.DetachRequest{Name: "w1-trench-a"})
		f.refused(t, before, err, codes.NotFound, `name: there is no attachment "w1-trench-a"`)
	})
}

// TestBadFiles: manifests are accepted together or not at all, and every
// problem is told with file, line, field and reason.
func TestBadFiles(t *testing.T) {
	f := newRefusals(t)
	dir := t.TempDir()
	good := streamAndFlow("good", 10, "7777")
	for name, c := range map[string]struct {
		text  string
		texts []string
	}{
		"not-yaml":       {"\t{this: [is not\n", []string{"not-yaml.yaml:", "nothing was changed"}},
		"prose":          {"Dear administrator, please add a VIP.\n", []string{"prose.yaml:1:", "nothing was changed"}},
		"unknown-field":  {good + strings.Replace(streamAndFlow("other", 10, "7778"), "  priority:", "  prioritaet: 7\n  priority:", 1), []string{"unknown-field.yaml:", "prioritaet", "1 problem"}},
		"unknown-stream": {good + strings.Replace(streamAndFlow("other", 10, "7778"), "  stream: other", "  stream: nowhere", 1), []string{"unknown-stream.yaml:", "spec.stream", `nowhere`}},
		"bad-port":       {good + streamAndFlow("other", 10, "70000"), []string{"bad-port.yaml:", "spec.destination-ports[0]", "70000"}},
		"bad-address":    {good + vip("vip-bad", "20.0.0.300/32"), []string{"bad-address.yaml:", "spec.address", "20.0.0.300/32"}},
		"two-problems":   {vip("vip-bad", "nowhere") + streamAndFlow("other", 10, "0-99999"), []string{"spec.address", "spec.destination-ports[0]", "2 problems"}},
	} {
		t.Run(name, func(t *testing.T) {
			before := f.settled(f.w1, f.w2)
			file := filepath.Join(dir, name+".yaml")
			must(t, os.WriteFile(file, []byte(c.text), 0o600))
			a := f.weft(f.AdminSocket(), "", "apply", "-f", file)
			if a.code != cli.ExitError || a.out != "" {
				t.Errorf("exit status %d, output %q", a.code, a.out)
			}
			for _, text := range c.texts {
				if !strings.Contains(a.err, text) {
					t.Errorf("error is %q, want it to say %q", a.err, text)
				}
			}
			f.unchanged(before, name, f.w1, f.w2)
			f.load.untouched(name)
		})
	}
	if a := f.weft(f.AdminSocket(), "", "apply", "-f", filepath.Join(dir, "absent.yaml")); a.code == cli.ExitOK || !strings.Contains(a.err, "absent.yaml") {
		t.Errorf("a missing file: %+v", a)
	}
}
