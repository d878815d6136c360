// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"errors"
	"net/netip"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weft-project/weft/internal/balancer"
	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/internal/resource"
)

func snapshot(t *testing.T, files ...resource.File) *resource.Snapshot {
	t.Helper()
	s, err := resource.Open("")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Apply(files, resource.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	return s.Snapshot()
}

func load(t *testing.T, path string) resource.File {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return resource.File{Name: path, Data: data}
}

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// compare leaves out what makes no difference: empty and missing lists.
func compare(t *testing.T, want, got *balancer.Config) {
	t.Helper()
	equal := cmp.Options{
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmpopts.EquateEmpty(),
	}
	if diff := cmp.Diff(want, got, equal); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
	if err := got.Validate(); err != nil {
		t.Errorf("the balancer refuses it: %v", err)
	}
	for _, f := range got.Flows {
		if err := f.Rule.Validate(); err != nil {
			t.Errorf("the classifier refuses it: %v", err)
		}
	}
}

func TestDemoManifest(t *testing.T) {
	s := snapshot(t, load(t, "../../../deployments/examples/demo.yaml"))
	flow := func(name string, port uint16) balancer.Flow {
		return balancer.Flow{Stream: name, Rule: classify.Rule{
			Name: name, Priority: 1, VIPs: prefixes("20.0.0.1/32", "2000::1/128"), Sources: prefixes("0.0.0.0/0", "::/0"),
			SourcePorts:      []classify.PortRange{{First: 0, Last: 65535}},
			DestinationPorts: []classify.PortRange{{First: port, Last: port}},
			Protocols:        []uint8{classify.TCP, classify.UDP},
		}}
	}
	for trench, want := range map[string]*balancer.Config{
		"trench-a": {
			VIPs:     prefixes("20.0.0.1/32", "2000::1/128"),
			Streams:  []balancer.Stream{{Name: "api", MaxTargets: 100}, {Name: "web", MaxTargets: 100}},
			Flows:    []balancer.Flow{flow("api", 6000), flow("web", 5000)},
			Gateways: []netip.Addr{netip.MustParseAddr("10.1.0.254"), netip.MustParseAddr("fd01::fe")},
		},
		"trench-b": {
			VIPs:     prefixes("20.0.0.1/32", "2000::1/128"),
			Streams:  []balancer.Stream{{Name: "web", MaxTargets: 100}},
			Flows:    []balancer.Flow{flow("web", 5000)},
			Gateways: []netip.Addr{netip.MustParseAddr("10.2.0.254"), netip.MustParseAddr("fd02::fe")},
		},
	} {
		t.Run(trench, func(t *testing.T) {
			got, err := Balancer(s, trench, "lb")
			if err != nil {
				t.Fatal(err)
			}
			compare(t, want, got)
		})
	}
}

func TestMeridioManifests(t *testing.T) {
	const dir = "../testdata/meridio/"
	s := snapshot(t, load(t, dir+"v1.yaml"), load(t, dir+"v1alpha1.yaml"))
	for conduit, want := range map[string]*balancer.Config{
		"blue-lb": {
			VIPs:    prefixes("20.0.0.1/32", "2000::1/128"),
			Streams: []balancer.Stream{{Name: "blue-first", MaxTargets: 100}},
			Flows: []balancer.Flow{
				{Stream: "blue-first", Rule: classify.Rule{
					Name: "blue-first-old", VIPs: prefixes("20.0.0.1/32"), Sources: prefixes("10.20.30.40/30"),
					SourcePorts:      []classify.PortRange{{First: 20000, Last: 21000}},
					DestinationPorts: []classify.PortRange{{First: 2000, Last: 3000}},
					Protocols:        []uint8{classify.UDP},
				}},
				{Stream: "blue-first", Rule: classify.Rule{
					Name: "blue-first-tcp", Priority: 1, VIPs: prefixes("20.0.0.1/32", "2000::1/128"), Sources: prefixes("0.0.0.0/0", "::/0"),
					SourcePorts:      []classify.PortRange{{First: 0, Last: 65535}},
					DestinationPorts: []classify.PortRange{{First: 4000, Last: 4000}, {First: 4002, Last: 4002}},
					Protocols:        []uint8{classify.TCP},
					ByteMatches:      []classify.ByteMatch{{Protocol: classify.TCP, Offset: 2, Width: 2, Mask: 0xffff, Value: 4002}},
				}},
			},
			Gateways: []netip.Addr{netip.MustParseAddr("169.254.100.150"), netip.MustParseAddr("100:100::150")},
		},
		// Announced by the attractor, but without a flow.
		"red-lb2": {VIPs: prefixes("40.0.0.0/24")},
	} {
		t.Run(conduit, func(t *testing.T) {
			trench := map[string]string{"blue-lb": "blue", "red-lb2": "red"}[conduit]
			got, err := Balancer(s, trench, conduit)
			if err != nil {
				t.Fatal(err)
			}
			compare(t, want, got)
		})
	}
}

func TestTableSize(t *testing.T) {
	s := snapshot(t, resource.File{Name: "f", Data: []byte(`apiVersion: weft.dev/v1alpha1
kind: Trench
metadata: {name: a}
---
apiVersion: weft.dev/v1alpha1
kind: Conduit
metadata: {name: lb, labels: {trench: a}}
---
apiVersion: weft.dev/v1alpha1
kind: Stream
metadata: {name: web, labels: {trench: a}}
spec: {conduit: lb, max-targets: 200, table-size: 131071}
`)})
	got, err := Balancer(s, "a", "lb")
	if err != nil {
		t.Fatal(err)
	}
	compare(t, &balancer.Config{Streams: []balancer.Stream{{Name: "web", MaxTargets: 200, TableSize: 131071}}}, got)
}

func TestUnknownConduit(t *testing.T) {
	s := snapshot(t, load(t, "../../../deployments/examples/demo.yaml"))
	if _, err := Balancer(s, "trench-a", "nope"); !errors.Is(err, resource.ErrNotFound) {
		t.Errorf("error = %v, want ErrNotFound", err)
	}
}
