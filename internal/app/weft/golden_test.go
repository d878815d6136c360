// SPDX-License-Identifier: Apache-2.0

package weft

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	agentv1 "github.com/weft-project/weft/pkg/api/agent/v1"
)

var update = flag.Bool("update", false, "write the golden files")

const demo = "../../../deployments/examples/demo.yaml"

// conditionTime is the only thing in the output that a test cannot fix.
var conditionTime = regexp.MustCompile(`(lastTransitionTime"?: )"[^"]*"`)

// golden compares sessions, command lines with what they print, with a file.
func golden(t *testing.T, name string, h *host, lines ...string) {
	t.Helper()
	var b strings.Builder
	for _, line := range lines {
		o := h.line(line)
		fmt.Fprintf(&b, "$ weft %s\n", line)
		b.WriteString(o.stdout)
		for _, l := range strings.SplitAfter(o.stderr, "\n") {
			if l != "" {
				b.WriteString("! " + l)
			}
		}
		if o.code != 0 {
			fmt.Fprintf(&b, "[exit code %d]\n", o.code)
		}
		b.WriteByte('\n')
	}
	got := conditionTime.ReplaceAllString(b.String(), `$1"TIME"`)
	got = strings.ReplaceAll(got, h.socket, "SOCKET")
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func TestResources(t *testing.T) {
	h := newHost(t)
	golden(t, "resources", h,
		"get all",
		"check -f "+demo,
		"apply -f "+demo+" --dry-run",
		"apply -f "+demo,
		"get trenches",
		"get conduit",
		"get streams --trench trench-a",
		"get vips -o wide",
		"get FLOWS",
		"get flow web -n trench-b -o wide",
		"get gateways -o wide",
		"get attractors",
		"get attractors -o wide",
		"get all -n trench-b",
		"get stream web -n trench-a -o json",
		"get stream web -n trench-a -o yaml",
		"get stream web -o json",
		"apply -f testdata/change.yaml",
		"apply -f testdata/bad.yaml",
		"delete conduit lb -n trench-a",
		"delete flow nope",
		"delete flow api -n trench-a --dry-run",
		"delete flow api -n trench-a",
		"delete -f "+demo,
		"delete -f "+demo+" --ignore-not-found --dry-run",
		"apply -f "+demo+" --prune",
		"delete -f "+demo,
		"get all -o yaml",
	)
}

func TestMeridioManifests(t *testing.T) {
	h := newHost(t)
	golden(t, "meridio", h,
		"apply -f ../../resource/testdata/meridio",
		"get all -o wide",
	)
}

func TestPortNAT(t *testing.T) {
	h := newHost(t)
	golden(t, "port-nat", h,
		"apply -f ../../../deployments/examples/port-nat.yaml",
		"get conduits -o wide",
		"get flows -o wide",
		"get vips",
		"get conduit lb -o yaml",
	)
}

func TestAttachments(t *testing.T) {
	h := newHost(t)
	golden(t, "attachments", h,
		"attachment show",
		"stream show",
		"stream join web",
		"attachment add lb.trench-a --stream web",
		"attachment show nsm-1-7f3a -o wide",
		"attachment show nsm-1-7f3a -o yaml",
		"attachment show nsm-1-7f3a -o json",
		"attachment update nsm-1-7f3a --label weight=3 --label app=web",
		"attachment update nsm-1-7f3a --remove-label app -o wide",
		"attachment drain nsm-1-7f3a -o wide",
		"attachment undrain nsm-1-7f3a -o wide",
		"attachment update nope --label weight=3",
		"stream join api",
		"stream show",
		"stream show web -o json",
		"stream leave web api",
		"attachment add lb.nowhere",
		"attachment add lb.trench-b --name second --interface nsm-2 --stream web,api --address 10.0.0.5/32 --label a=b --netns w4 --no-wait -o yaml",
		"stream join web",
		"stream join web --attachment second",
		"get attachments",
		"get attachment second -o wide",
		"attachment show nope",
		"attachment delete nope",
		"attachment delete nsm-1-7f3a second",
		"attachment show -o json",
	)
}

func TestFailingAttachment(t *testing.T) {
	h := newHost(t)
	h.agent.attachments = []*agentv1.Attachment{failing()}
	h.agent.events = []*agentv1.WatchResponse{
		{Kind: agentv1.WatchResponse_CHANGED, Attachments: []*agentv1.Attachment{failing()}},
		{Kind: agentv1.WatchResponse_REMOVED, Attachments: []*agentv1.Attachment{failing()}},
	}
	golden(t, "failing", h,
		"attachment show",
		"attachment show -o wide",
		"attachment watch",
		"attachment watch -o json",
		"attachment watch nsm-2-7f3a -o yaml",
	)
}

func TestStatusAndVersion(t *testing.T) {
	h := newHost(t)
	golden(t, "status", h, "status", "status -o json", "version --daemon", "version --daemon -o yaml")
}

func TestUsageErrors(t *testing.T) {
	h := newHost(t)
	golden(t, "usage", h,
		"nonsense",
		"gett",
		"attachment ad",
		"get",
		"get router",
		"get flows -o xml",
		"get flow web nope",
		"get flows --watch a b",
		"apply",
		"apply -f nonexistent.yaml",
		"apply -f testdata/empty",
		"apply nonsense -f x",
		"delete",
		"delete flow",
		"delete flow x -f y",
		"delete attachment x",
		"get attachments a b",
		"attachment add",
		"attachment add --wait-timeout soon lb.trench-a",
		"attachment delete",
		"attachment update",
		"attachment update nsm-1-7f3a",
		"attachment update nsm-1-7f3a --label weight",
		"attachment update nsm-1-7f3a --label weight=3 --remove-label weight",
		"attachment drain",
		"attachment undrain a b",
		"stream join",
		"--socket /nonexistent/weft.sock get flows",
		"--nonsense",
	)
}

func TestHelp(t *testing.T) {
	h := newHost(t)
	golden(t, "help", h,
		"--help", "apply --help", "check --help", "delete --help", "get --help", "status --help", "version --help",
		"attachment --help", "attachment add --help", "attachment update --help", "attachment drain --help", "attachment undrain --help",
		"attachment delete --help", "attachment show --help", "attachment watch --help",
		"stream --help", "stream join --help", "stream leave --help", "stream show --help",
		"trace --help", "trace packet --help", "top --help", "observe --help",
	)
}
