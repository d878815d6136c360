// SPDX-License-Identifier: Apache-2.0

package up

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/deployments/examples"
	"github.com/weft-project/weft/internal/app/weft"
	"github.com/weft-project/weft/internal/cli"
	"github.com/weft-project/weft/internal/metrics/metricstest"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/resource"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/pkg/apis/v1alpha1"
)

// freeAddress returns a loopback address whose port was free a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func scrape(t *testing.T, address string) string {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	resp, err := client.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s, %v: %s", resp.Status, err, body)
	}
	return string(body)
}

// The whole stack starts, carries out manifests, shows what it does, and
// leaves nothing.
func TestStack(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	dir, node, replica := t.TempDir(), testutil.NetNS(t), testutil.NetNS(t)
	h := testutil.Handle(t, replica)
	if _, _, err := h.AddVeth(nl.Veth{Name: "ext0", PeerName: "peer", PeerUp: true}); err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	stack, err := Start(t.Context(), Config{
		Node: "n1", NetNS: node, RunDir: dir, StateDir: filepath.Join(dir, "state"), MetricsAddress: address,
		Replicas: []Replica{{
			Name: "lb-1", Trench: "trench-a", Conduit: "lb", NetNS: replica, Interface: "ext0",
			Prefixes: []netip.Prefix{netip.MustParsePrefix("172.16.1.0/24")},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := stack.Stop(); err != nil {
			t.Error(err)
		}
	}()
	if err := stack.Apply("demo.yaml", examples.Demo); err != nil {
		t.Fatal(err)
	}
	flow := resource.Key{Kind: v1alpha1.KindFlow, Namespace: "trench-a", Name: "web"}
	testutil.Eventually(t, 10*time.Second, "the flow to be programmed", func() bool {
		o, ok := stack.store.Snapshot().Get(flow)
		if !ok {
			return false
		}
		c := o.GetStatus().Condition(v1alpha1.ConditionProgrammed)
		return c != nil && c.Status == v1alpha1.ConditionTrue
	})
	for _, c := range stack.components() {
		if !c.GetReady() {
			t.Errorf("%s: %s", c.GetName(), c.GetMessage())
		}
	}
	metrics := scrape(t, address)
	for _, want := range []string{
		`weft_lb_stream_targets{endpoint="lb-1",stream="web"} 0`,
		`weft_agent_attachments{ready="true"} 0`, "weft_agent_legs 0", "weft_forwarder_interfaces 0", `weft_forwarder_packets_total{reason="no_leg"} 0`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("metrics lack %s:\n%s", want, metrics)
		}
	}
	metricstest.Gathered(t, stack.metrics, "endpoint")
	checkInspection(t, stack.AdminSocket())
	if err := stack.Apply("bad.yaml", []byte("kind: Flow\n")); err == nil {
		t.Error("a bad manifest is accepted")
	}
}

// A replica's data path is pinned, works on when it is abandoned, and goes when it
// is stopped or not configured any more.
func TestPinnedReplica(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	dir, bpffs, replica := t.TempDir(), t.TempDir(), testutil.NetNS(t)
	if err := unix.Mount("bpf", bpffs, "bpf", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(bpffs, 0); err != nil {
			t.Error(err)
		}
	}()
	h := testutil.Handle(t, replica)
	if _, _, err := h.AddVeth(nl.Veth{Name: "ext0", PeerName: "peer", PeerUp: true}); err != nil {
		t.Fatal(err)
	}
	config := Config{
		Node: "n1", NetNS: testutil.NetNS(t), RunDir: dir, StateDir: filepath.Join(dir, "state"), PinDir: filepath.Join(bpffs, "weft"),
		Replicas: []Replica{{
			Name: "lb-1.a", Trench: "trench-a", Conduit: "lb", NetNS: replica, Interface: "ext0",
			Prefixes: []netip.Prefix{netip.MustParsePrefix("172.16.1.0/24")},
		}},
	}
	for i := range 3 {
		stack, err := Start(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		if i < 2 {
			if err := stack.replicas[0].Abandon(); err != nil {
				t.Error(err)
			}
		}
		if err := stack.Stop(); err != nil {
			t.Error(err)
		}
		pins, err := filepath.Glob(filepath.Join(config.PinDir, "*", "*"))
		if err != nil || len(pins) != []int{2, 2, 0}[i] {
			t.Errorf("start %d leaves %v, %v", i, pins, err)
		}
		if i == 1 {
			config.Replicas = nil
		}
	}
}

// What cannot start leaves nothing behind.
func TestStartFails(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	dir := t.TempDir()
	_, err := Start(t.Context(), Config{
		Node: "n1", NetNS: testutil.NetNS(t), RunDir: dir, StateDir: filepath.Join(dir, "state"),
		Replicas: []Replica{{
			Name: "lb-1", Trench: "t", Conduit: "lb", NetNS: testutil.NetNS(t), Interface: "absent",
			Prefixes: []netip.Prefix{netip.MustParsePrefix("172.16.1.0/24")},
		}},
	})
	if err == nil || !strings.Contains(err.Error(), "absent") {
		t.Errorf("got %v, want an error that names the missing interface", err)
	}
}

// checkInspection traces a packet through the administrator's socket.
func checkInspection(t *testing.T, socket string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	env := &cli.Env{
		Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr,
		Getenv: func(string) string { return "" }, Now: time.Now,
	}
	code := weft.Run(t.Context(), env, strings.Fields("trace packet --socket "+socket+" --in ext0 --src 198.51.100.7 --dst 20.0.0.1 --proto tcp --dport 5000 -o yaml"))
	for _, want := range []string{"name: lb-1", "reason: no_target", "vip: 20.0.0.1/32", "flow: api", "stream: web", "field: destination-ports"} {
		if code != 0 || !strings.Contains(stdout.String(), want) {
			t.Errorf("exit code %d, %s: the trace lacks %q:\n%s", code, stderr.String(), want, stdout.String())
		}
	}
}
