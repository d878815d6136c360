// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weft-project/weft/internal/balancer"
	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/internal/resource"
	"github.com/weft-project/weft/pkg/apis/v1alpha1"
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
	set := classify.Set{VIPs: got.VIPs, NATs: got.NATs, MAC: make(net.HardwareAddr, 6)}
	for _, f := range got.Flows {
		set.Rules = append(set.Rules, f.Rule)
	}
	if err := set.Validate(); err != nil {
		t.Errorf("the classifier refuses it: %v", err)
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
		"red-lb": {
			VIPs:    prefixes("20.0.0.1/32"),
			Streams: []balancer.Stream{{Name: "red-stream", MaxTargets: 2}},
			Flows: []balancer.Flow{{Stream: "red-stream", Rule: classify.Rule{
				Name: "red-flow", Priority: 10, VIPs: prefixes("20.0.0.1/32"), Sources: prefixes("0.0.0.0/0", "::/0"),
				DestinationPorts: []classify.PortRange{{First: 80, Last: 80}},
				Protocols:        []uint8{classify.TCP, classify.SCTP},
			}}},
			NATs:     []classify.NAT{{VIP: netip.MustParsePrefix("20.0.0.1/32"), Protocol: classify.TCP, Port: 80, TargetPort: 4000}},
			Gateways: []netip.Addr{netip.MustParseAddr("192.168.100.254")},
		},
		// Announced by the attractor, but without a flow.
		"red-lb2": {VIPs: prefixes("40.0.0.0/24")},
	} {
		t.Run(conduit, func(t *testing.T) {
			trench, _, _ := strings.Cut(conduit, "-")
			got, err := Balancer(s, trench, conduit)
			if err != nil {
				t.Fatal(err)
			}
			compare(t, want, got)
		})
	}
}

// TestPortNATManifest: the example has no problem, not even a warning, and every
// field of it arrives.
func TestPortNATManifest(t *testing.T) {
	file := load(t, "../../../deployments/examples/port-nat.yaml")
	docs, problems := resource.Decode([]resource.File{file})
	if problems = append(problems, resource.Check(docs)...); len(problems) > 0 {
		t.Fatal(problems)
	}
	got, err := Balancer(snapshot(t, file), "voice", "lb")
	if err != nil {
		t.Fatal(err)
	}
	v4, v6 := netip.MustParsePrefix("198.51.100.16/28"), netip.MustParsePrefix("2001:db8:100::/120")
	nat := func(vip netip.Prefix, protocol uint8) classify.NAT {
		return classify.NAT{VIP: vip, Protocol: protocol, Port: 5060, TargetPort: 15060}
	}
	compare(t, &balancer.Config{
		VIPs:    prefixes("198.51.100.16/28", "198.51.100.17/32", "2001:db8:100::/120"),
		Streams: []balancer.Stream{{Name: "admin", MaxTargets: 2}, {Name: "rtp", MaxTargets: 100}, {Name: "sip", MaxTargets: 100}},
		Flows: []balancer.Flow{
			{Stream: "admin", Rule: classify.Rule{
				Name: "admin", Priority: 20, VIPs: prefixes("198.51.100.17/32"), Sources: prefixes("192.0.2.0/24"),
				DestinationPorts: []classify.PortRange{{First: 443, Last: 443}}, TargetPort: 8443, Protocols: []uint8{classify.TCP},
			}},
			{Stream: "rtp", Rule: classify.Rule{
				Name: "rtp", Priority: 5, VIPs: []netip.Prefix{v4, v6}, DestinationPorts: []classify.PortRange{{First: 16384, Last: 32767}},
				Protocols: []uint8{classify.UDP}, ByteMatches: []classify.ByteMatch{{Protocol: classify.UDP, Offset: 8, Width: 1, Mask: 0xc0, Value: 0x80}},
			}},
			{Stream: "sip", Rule: classify.Rule{
				Name: "sip", Priority: 10, VIPs: []netip.Prefix{v4, v6}, DestinationPorts: []classify.PortRange{{First: 5060, Last: 5060}},
				Protocols: []uint8{classify.TCP, classify.UDP},
			}},
		},
		NATs:     []classify.NAT{nat(v4, classify.TCP), nat(v4, classify.UDP), nat(v6, classify.TCP), nat(v6, classify.UDP)},
		Gateways: []netip.Addr{netip.MustParseAddr("10.3.0.254"), netip.MustParseAddr("fd03::fe")},
		MSSClamp: true,
		Affinity: 100000,
	}, got)
}

// TestVIPsOfOneAddress: two Vip objects may be one VIP; a port of it is
// translated once.
func TestVIPsOfOneAddress(t *testing.T) {
	yaml := string(load(t, "../../../deployments/examples/port-nat.yaml").Data)
	yaml = strings.ReplaceAll(yaml, "2001:db8:100::/120", "198.51.100.16/28")
	got, err := Balancer(snapshot(t, resource.File{Name: "f", Data: []byte(yaml)}), "voice", "lb")
	if err != nil {
		t.Fatal(err)
	}
	if len(got.NATs) != 2 {
		t.Errorf("NATs %v", got.NATs)
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

// TestAffinityLimit: what a manifest may ask for, a balancer takes.
func TestAffinityLimit(t *testing.T) {
	if balancer.MaxAffinity != v1alpha1.MaxAffinityFlows {
		t.Errorf("a balancer takes %d flows, a manifest may have %d", balancer.MaxAffinity, v1alpha1.MaxAffinityFlows)
	}
}

// The gateways of Meridio's manifest listen on different ports.
func TestMeridioFrontend(t *testing.T) {
	const dir = "../testdata/meridio/"
	s := snapshot(t, load(t, dir+"v1.yaml"), load(t, dir+"v1alpha1.yaml"))
	f, err := FrontendOf(s, "blue", "blue-lb", "lb-1", func(string, string) ([]byte, error) { return []byte("key"), nil })
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Config.Validate(); err != nil {
		t.Error(err)
	}
	if len(f.Withheld) != 0 || len(f.Config.Gateways) != 2 || f.Config.Gateways[0].BGP.LocalPort != 10179 || f.Config.Gateways[1].BGP.LocalPort != 179 {
		t.Errorf("withheld %v, gateways %+v", f.Withheld, f.Config.Gateways)
	}
}
