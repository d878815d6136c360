// SPDX-License-Identifier: Apache-2.0

package up

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const good = `
node: host-1
run-dir: /run/weft
state-dir: /var/lib/weft
metrics: 127.0.0.1:9090
replicas:
- name: lb-1
  trench: trench-a
  conduit: lb
  netns: /run/netns/lb-1
  interface: ext0
  prefixes: [172.16.1.0/24, "fd00:1::/64"]
`

func load(t *testing.T, text string) (Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "up.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(path)
}

func TestLoad(t *testing.T) {
	got, err := load(t, good)
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Node: "host-1", RunDir: "/run/weft", StateDir: "/var/lib/weft", MetricsAddress: "127.0.0.1:9090",
		Replicas: []Replica{{
			Name: "lb-1", Trench: "trench-a", Conduit: "lb", NetNS: "/run/netns/lb-1", Interface: "ext0",
			Prefixes: []netip.Prefix{netip.MustParsePrefix("172.16.1.0/24"), netip.MustParsePrefix("fd00:1::/64")},
		}},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got, err := load(t, ""); err != nil || got.Replicas != nil {
		t.Errorf("empty file: %+v, %v", got, err)
	}
}

func TestBadConfigurations(t *testing.T) {
	second := strings.SplitN(good, "replicas:\n", 2)[1]
	for _, tt := range []struct {
		name, text string
		want       []string // parts of the error
	}{
		{"unknown field", "nodes: x\n", []string{"line 1", "field nodes not found"}},
		{"not YAML", "\tnode", []string{"up.yaml"}},
		{"bad prefix", strings.Replace(good, "172.16.1.0/24", "172.16.1.0/33", 1), []string{"172.16.1.0/33"}},
		{"relative directory", "run-dir: weft\n", []string{`run-dir: "weft" is not an absolute path`}},
		{"everything missing", "replicas: [{}]\n", []string{
			"replicas[0].name: missing", "replicas[0].trench: missing", "replicas[0].conduit: missing",
			"replicas[0].prefixes: missing",
		}},
		{"one interface for two", strings.ReplaceAll(good+strings.Replace(second, "lb-1", "lb-2", 1), "  interface: ext0\n", ""), []string{
			"replicas[1].netns: lb-1 gets the attractor's interface there already",
		}},
		{"tag without interface", strings.Replace(good, "  interface: ext0\n", "  vlan: 5\n", 1), []string{"replicas[0].vlan: needs interface"}},
		{"VLAN", good + "  vlan: 5000\n", []string{"replicas[0].vlan: 5000"}},
		{"nodes", good + "registry: 192.0.2.1:5000\nregistry-listen: tcp://192.0.2.1:5000\ntunnel-ip: 127.0.0.1\n", []string{
			`registry: "192.0.2.1:5000" is not tcp://host:port`, "registry-listen: a host with registry", "tunnel-ip: 127.0.0.1 is no address",
		}},
		{"unreachable", good + "registry: tcp://192.0.2.1:5000\n", []string{"nsmgr-listen: missing"}},
		{"reachable for nothing", good + "nsmgr-listen: tcp://192.0.2.1:5000\n", []string{"nsmgr-listen: is for other nodes"}},
		{"tunnels", good + "  mechanism: ipsec\nmechanism-policy: maybe\nwireguard: hardware\nliveness-interval: -1s\non-stop: pause\npin-dir: here\n", []string{
			`replicas[0].mechanism: mechanism "ipsec"`, `mechanism: mechanism policy "maybe" is neither`, `wireguard: "hardware" is neither`,
			"liveness-interval or liveness-multiplier: negative", `on-stop: "pause" is neither`, `pin-dir: "here" is neither an absolute path nor none`,
		}},
		{"nothing to keep", good + "pin-dir: none\non-stop: keep\n", []string{"on-stop: nothing can be kept that is not pinned"}},
		{"table size", good + "  table-size: 65536\n", []string{"replicas[0].table-size: 65536 is not a prime number"}},
		{"mode", good + "  mode: fast\n", []string{`mode "fast": neither auto, tcx nor xdp`}},
		{"withdraw", good + "  withdraw: -1s\n", []string{"replicas[0].withdraw: -1s is negative"}},
		{"flows", good + "  max-flows: -1\n", []string{"replicas[0].max-flows: -1 is not within 0 to 1048576"}},
		{"fragments", good + "  max-fragments: 5\n", []string{"replicas[0].max-fragments: 5 is neither 0 nor within 64 to 16777216"}},
		{"twice the same", good + second, []string{
			`replicas[1].name: "lb-1" is taken`, "replicas[1].interface: ext0 is taken by lb-1",
			"replicas[1].prefixes: 172.16.1.0/24 overlaps",
		}},
	} {
		_, err := load(t, tt.text)
		if err == nil {
			t.Errorf("%s: accepted", tt.name)
			continue
		}
		for _, part := range tt.want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q lacks %q", tt.name, err, part)
			}
		}
	}
}

func TestFlagsGoBeforeTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "up.yaml")
	if err := os.WriteFile(path, []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := (&given{file: path, flags: Config{Node: "other"}}).config()
	if err != nil || got.Node != "other" || got.RunDir != "/run/weft" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := (&given{file: path, flags: Config{RunDir: "relative"}}).config(); err == nil {
		t.Error("a relative --run-dir is accepted")
	}
}

// The examples of the documentation are good.
func TestExample(t *testing.T) {
	for i := range 3 {
		if _, err := Load(fmt.Sprintf("../../../deployments/examples/nodes/node-%d.yaml", i+1)); err != nil {
			t.Error(err)
		}
	}
	c, err := Load("../../../deployments/examples/up.yaml")
	if err != nil || len(c.Replicas) != 2 {
		t.Errorf("%+v, %v", c, err)
	}
}
