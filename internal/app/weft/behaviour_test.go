// SPDX-License-Identifier: Apache-2.0

package weft

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-project/weft/internal/cli"
	"github.com/weft-project/weft/internal/inspect"
	"github.com/weft-project/weft/internal/inspect/inspecttest"
	agentv1 "github.com/weft-project/weft/pkg/api/agent/v1"
	daemonv1 "github.com/weft-project/weft/pkg/api/daemon/v1"
)

// What "get -o yaml" prints is what "apply" takes.
func TestRoundTrip(t *testing.T) {
	h := newHost(t)
	h.must("apply -f ../../resource/testdata/meridio")
	for _, format := range []string{"yaml", "json"} {
		h.stdin = h.must("get all -o " + format)
		out := h.must("apply -f -")
		if n := strings.Count(out, " unchanged\n"); n != 20 || strings.Count(out, "\n") != 20 {
			t.Errorf("%s: applying what was printed:\n%s", format, out)
		}
	}
}

func TestStandardInput(t *testing.T) {
	h := newHost(t)
	h.stdin = "kind: [\n"
	want := outcome{"", "stdin:1: not valid YAML: did not find expected node content\nweft: 1 problem; nothing was changed\n", 1}
	if got := h.line("apply -f -"); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := h.line("check -f -"); got != want {
		t.Errorf("check: got %+v, want %+v", got, want)
	}
}

func TestDirectoryInOrder(t *testing.T) {
	h := newHost(t)
	dir := t.TempDir()
	for name, content := range map[string]string{
		"b.yml":       "apiVersion: weft.dev/v1alpha1\nkind: Trench\nmetadata: {name: b}\n",
		"a.yaml":      "apiVersion: weft.dev/v1alpha1\nkind: Conduit\nmetadata: {name: lb, labels: {trench: b}}\n",
		"ignored.txt": "nonsense",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := h.must("apply -f "+dir), "Conduit lb created\nTrench b created\n"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestRequests(t *testing.T) {
	h := newHost(t)
	h.must("attachment add lb.trench-a --stream web --wait-timeout 3s")
	if r := h.agent.lastAttach; !r.GetWait() || r.GetWaitTimeout().AsDuration() != 3*time.Second || r.GetSpec().GetNetns() != "" {
		t.Errorf("attach: %v", r)
	}
	h.must("attachment add lb.trench-b --name two --netns /proc/7/ns/net --no-wait")
	if r := h.agent.lastAttach; r.GetWait() || r.GetSpec().GetNetns() != "/proc/7/ns/net" {
		t.Errorf("attach: %v", r)
	}
	h.must("stream leave web --attachment two --no-wait")
	if r := h.agent.lastUpdate; r.GetWait() || len(r.GetLeaveStreams()) != 1 || r.GetStreams() != nil || r.GetName() != "two" {
		t.Errorf("update: %v", r)
	}
	h.must("attachment show --network lb.trench-a --netns w1")
	if r := h.agent.lastList; r.GetNetworkService() != "lb.trench-a" || r.GetNetns() != "/run/netns/w1" {
		t.Errorf("list: %v", r)
	}
}

func TestColor(t *testing.T) {
	h := newHost(t)
	h.agent.attachments = []*agentv1.Attachment{ready(&agentv1.AttachmentSpec{Name: "a"}), failing()}
	for _, tt := range []struct {
		tty  bool
		env  map[string]string
		want bool
	}{
		{true, nil, true},
		{false, nil, false},
		{true, map[string]string{"NO_COLOR": "1"}, false},
		{true, map[string]string{"TERM": "dumb"}, false},
	} {
		h.tty = tt.tty
		delete(h.env, "NO_COLOR")
		delete(h.env, "TERM")
		for k, v := range tt.env {
			h.env[k] = v
		}
		out := h.must("attachment show")
		if got := strings.Contains(out, "\x1b[32mTrue\x1b[0m") && strings.Contains(out, "\x1b[31m0/2\x1b[0m"); got != tt.want {
			t.Errorf("terminal %v, environment %v: coloured = %v:\n%q", tt.tty, tt.env, got, out)
		}
		if json := h.must("attachment show -o json"); strings.Contains(json, "\x1b[") {
			t.Error("JSON with colours")
		}
	}
}

func TestSockets(t *testing.T) {
	h := newHost(t)
	real := h.socket
	h.env["WEFT_SOCKET"] = "/nonexistent"
	if o := h.line("get flows --socket " + real); o.code != 0 {
		t.Errorf("--socket does not win over WEFT_SOCKET: %s", o.stderr)
	}
	if o := h.line("get flows"); !strings.Contains(o.stderr, "there is no socket /nonexistent") {
		t.Errorf("WEFT_SOCKET is not used: %s", o.stderr)
	}
	dir := t.TempDir()
	h.env["WEFT_SOCKET"] = dir
	for line, want := range map[string]string{"stream show": "agent.sock", "get flows": "admin.sock"} {
		if o := h.line(line); !strings.Contains(o.stderr, "there is no socket "+filepath.Join(dir, want)+";") {
			t.Errorf("%s with a directory: %s", line, o.stderr)
		}
	}
	delete(h.env, "WEFT_SOCKET")
	for line, want := range map[string]string{
		"attachment show":               AgentSocket,
		"attachment show --admin":       AdminSocket,
		"attachment show --netns w1":    AdminSocket,
		"attachment add a.b --netns w1": AdminSocket,
		"stream show":                   AgentSocket,
		"get flows":                     AdminSocket,
		"status":                        AdminSocket,
	} {
		// The default sockets belong to a daemon of the host, if there is one.
		if _, err := os.Stat(want); err == nil {
			continue
		}
		if o := h.line(line); !strings.Contains(o.stderr, "there is no socket "+want+";") {
			t.Errorf("%s: %s", line, o.stderr)
		}
	}
	dead := filepath.Join(t.TempDir(), "dead.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if o := h.line("status --socket " + dead); !strings.Contains(o.stderr, "nobody listens on socket "+dead) {
		t.Errorf("dead socket: %s", o.stderr)
	}
}

// A server that takes the connection and never answers.
func TestTimeout(t *testing.T) {
	h := newHost(t)
	mute := filepath.Join(t.TempDir(), "mute.sock")
	l, err := net.Listen("unix", mute)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	o := h.line("status --timeout 50ms --socket " + mute)
	if o.code != 1 || !strings.HasPrefix(o.stderr, "weft: no answer in time (--timeout): ") {
		t.Errorf("exit code %d: %s", o.code, o.stderr)
	}
}

// Interrupting a watch is how it ends.
func TestWatch(t *testing.T) {
	h := newHost(t)
	h.must("apply -f " + demo)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stdout, w := io.Pipe()
	var stderr bytes.Buffer
	env := &cli.Env{
		Stdin: strings.NewReader(""), Stdout: w, Stderr: &stderr,
		Getenv: func(k string) string { return h.env[k] }, Now: func() time.Time { return now },
	}
	code := make(chan int, 1)
	go func() {
		code <- Run(ctx, env, strings.Fields("get streams --trench trench-a --watch"))
		w.Close()
	}()
	lines := make(chan string)
	go func() {
		defer close(lines)
		data := make([]byte, 4096)
		for {
			n, err := stdout.Read(data)
			for line := range strings.Lines(string(data[:n])) {
				lines <- strings.TrimSuffix(line, "\n")
			}
			if err != nil {
				return
			}
		}
	}()
	expect := func(want string) {
		t.Helper()
		if got := <-lines; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	expect("12:01:30.000 present  stream     trench-a/api programmed=Unknown (Pending)")
	expect("12:01:30.000 present  stream     trench-a/web programmed=Unknown (Pending)")
	h.must("apply -f testdata/change.yaml")
	expect("12:01:30.000 changed  stream     trench-a/new programmed=Unknown (Pending)")
	expect("12:01:30.000 changed  stream     trench-a/web programmed=Unknown (Pending)")
	h.must("delete stream new -n trench-a")
	expect("12:01:30.000 removed  stream     trench-a/new programmed=Unknown (Pending)")
	cancel()
	for range lines {
		t.Error("output after the interrupt")
	}
	if c := <-code; c != 0 || stderr.Len() > 0 {
		t.Errorf("exit code %d: %s", c, stderr.String())
	}
}

func TestExtraCommands(t *testing.T) {
	var out bytes.Buffer
	env := &cli.Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out, Getenv: func(string) string { return "" }, Now: time.Now}
	up := &cobra.Command{Use: "up", Short: "Run everything", RunE: func(cmd *cobra.Command, _ []string) error {
		cmd.Println("up it is")
		return nil
	}}
	if code := Run(t.Context(), env, []string{"up"}, up); code != 0 || out.String() != "up it is\n" {
		t.Errorf("exit code %d: %s", code, out.String())
	}
}

func TestCompletion(t *testing.T) {
	h := newHost(t)
	h.must("attachment add lb.trench-a")
	h.replicas = []inspect.Replica{inspecttest.New("lb-1", nil)}
	for line, want := range map[string]string{
		"__complete attachment show n":          "nsm-1-7f3a",
		"__complete get t":                      "trench",
		"__complete get flows -o y":             "yaml",
		"__complete stream join --attachment n": "nsm-1-7f3a",
		"__complete top --replica l":            "lb-1",
		"__complete trace packet --proto u":     "udp",
		"__complete observe --reason no":        "no_flow",
	} {
		// The shell filters by the prefix; ":4" tells it not to offer files.
		if got := h.must(line); !strings.Contains("\n"+got, "\n"+want+"\n") || !strings.HasSuffix(got, ":4\n") {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
	if out := h.must("completion bash"); !strings.Contains(out, "__start_weft") {
		t.Error("no completion script for bash")
	}
}

// Every command has a short help and, unless it only groups others, an example.
func TestEveryCommandIsDocumented(t *testing.T) {
	var check func(cmd *cobra.Command)
	check = func(cmd *cobra.Command) {
		if cmd.Short == "" {
			t.Errorf("%s has no short help", cmd.CommandPath())
		}
		if cmd.Example == "" && !cmd.HasSubCommands() {
			t.Errorf("%s has no example", cmd.CommandPath())
		}
		for _, c := range cmd.Commands() {
			check(c)
		}
	}
	check(New(&cli.Env{}))
}

// The proto's enums and what the store calls its actions go together.
func TestActionsPrint(t *testing.T) {
	var out bytes.Buffer
	a := &app{env: &cli.Env{Stdout: &out}}
	var changes []*daemonv1.Change
	for _, action := range []daemonv1.Change_Action{daemonv1.Change_CREATED, daemonv1.Change_CONFIGURED, daemonv1.Change_UNCHANGED, daemonv1.Change_DELETED} {
		changes = append(changes, &daemonv1.Change{Object: &daemonv1.Key{Kind: "Vip", Namespace: "default", Name: "v"}, Action: action})
	}
	if err := a.printChanges(changes, false); err != nil {
		t.Fatal(err)
	}
	if want := "Vip v created\nVip v configured\nVip v unchanged\nVip v deleted\n"; out.String() != want {
		t.Errorf("got %s, want %s", out.String(), want)
	}
}
