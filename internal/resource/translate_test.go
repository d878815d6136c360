// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-project/weft/internal/classify"
)

func checkProblems(t *testing.T, yaml string, want []string) {
	t.Helper()
	got := loadProblems(t, File{"base", []byte(base)}, File{"f", []byte(yaml)})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

// nested is a range, an address in it and one of its own, with a stream and a
// conduit that has the translations given.
func nested(nats string) string {
	return strings.Join([]string{
		manifest("Conduit", "n", "destination-port-nats:\n"+nats),
		manifest("Stream", "n", "conduit: n"),
		manifest("Vip", "range", "address: 40.0.0.0/28"),
		manifest("Vip", "inner", "address: 40.0.0.1/32"),
		manifest("Vip", "apart", "address: 40.0.0.16/32"),
		manifest("Flow", "open", "stream: n\nvips: [range, apart]\nprotocols: [tcp, udp]\npriority: 1\ndestination-ports: ['80-82']"),
	}, "---\n")
}

func TestTranslations(t *testing.T) {
	flow := func(name, spec string) string { return "---\n" + manifest("Flow", name, spec) }
	const common = "stream: n\nprotocols: [tcp]\npriority: 2\n"
	for _, tt := range []struct {
		name, yaml string
		want       []string
	}{
		{"chains, swaps and other protocols are well", nested(`- {port: 80, target-port: 81, vips: [range], protocol: tcp}
- {port: 81, target-port: 82, vips: [inner], protocol: tcp}
- {port: 82, target-port: 80, vips: [range], protocol: tcp}
- {port: 80, target-port: 8080, vips: [range], protocol: udp}
- {port: 81, target-port: 8080, vips: [apart], protocol: udp}`), []string{}},
		{"an inner range that goes elsewhere", nested(`- {port: 80, target-port: 8080, vips: [range], protocol: tcp}
- {port: 80, target-port: 9090, vips: [inner], protocol: tcp}`), []string{}},
		{"one port twice", nested(`- {port: 80, target-port: 8080, vips: [range, apart], protocol: tcp}
- {port: 80, target-port: 9090, vips: [apart, range], protocol: tcp}`), []string{
			`f:7: Conduit n: spec.destination-port-nats[1]: port 80 (tcp) of vip "apart" is translated by [0] already`,
			`f:7: Conduit n: spec.destination-port-nats[1]: port 80 (tcp) of vip "range" is translated by [0] already`,
		}},
		{"one target port for two ports", nested(`- {port: 80, target-port: 8080, vips: [inner, apart], protocol: tcp}
- {port: 81, target-port: 8080, vips: [range, apart], protocol: tcp}`), []string{
			`f:7: Conduit n: spec.destination-port-nats[1]: target-port 8080 (tcp) of vip "range" stands for port 80 in [0] already; replies could not be told apart`,
		}},
		{"a port that is not open", nested(`- {port: 83, target-port: 8080, vips: [inner, apart], protocol: tcp}
- {port: 80, target-port: 8080, vips: [inner], protocol: sctp}`), []string{
			`f:6: warning: Conduit n: spec.destination-port-nats[0]: no flow of the conduit matches port 83 (tcp) of vip "inner"; the port must be open in a flow`,
			`f:7: warning: Conduit n: spec.destination-port-nats[1]: no flow of the conduit matches port 80 (sctp) of vip "inner"; the port must be open in a flow`,
		}},
		{"a target port that is open, too", nested(`- {port: 80, target-port: 81, vips: [inner], protocol: tcp}`), []string{
			`f:6: warning: Conduit n: spec.destination-port-nats[0]: flow "open" matches target-port 81 (tcp) of vip "inner" directly; replies from there would be translated to port 80, too`,
		}},
		{"flow against conduit", nested(`- {port: 80, target-port: 8080, vips: [range], protocol: tcp}`) +
			flow("same", common+"vips: [apart]\ndestination-ports: ['80']\ntarget-port: 8080") +
			flow("other", common+"vips: [inner]\ndestination-ports: ['81']\ntarget-port: 8080"), []string{
			`f:62: Flow other: spec.target-port: target-port 8080 (tcp) of vip "inner" stands for port 80 in destination-port-nats[0] of conduit "n" already; replies could not be told apart`,
		}},
		{"flow against flow", nested("") +
			flow("a", common+"vips: [inner]\ndestination-ports: ['80']\ntarget-port: 8080") +
			flow("b", common+"vips: [inner]\ndestination-ports: ['80']\ntarget-port: 9090\nsource-subnets: [10.0.0.0/8]\nsource-ports: ['1']") +
			flow("c", strings.Replace(common, "tcp", "udp, tcp", 1)+"vips: [range]\ndestination-ports: ['81']\ntarget-port: 9090"), []string{
			`f:74: Flow c: spec.target-port: target-port 9090 (tcp) of vip "range" stands for port 80 in flow "b" already; replies could not be told apart`,
		}},
		{"a flow's target port that is open, too", nested("") +
			flow("a", common+"vips: [apart]\ndestination-ports: ['8000']\ntarget-port: 82"), []string{
			`f:50: warning: Flow a: spec.target-port: flow "open" matches target-port 82 (tcp) of vip "apart" directly; replies from there would be translated to port 8000, too`,
		}},
		{"target ports", manifest("Flow", "a", "stream: web\nvips: [v6]\nprotocols: [tcp]\npriority: 1\ntarget-port: 0") + "---\n" +
			manifest("Flow", "b", "stream: web\nvips: [v6]\nprotocols: [tcp]\npriority: 2\ntarget-port: 1") + "---\n" +
			manifest("Flow", "c", "stream: web\nvips: [v6]\nprotocols: [tcp]\npriority: 3\ndestination-ports: ['1', '2']\ntarget-port: 1") + "---\n" +
			manifest("Flow", "d", "stream: web\nvips: [v6]\nprotocols: [tcp]\npriority: 4\ndestination-ports: [any]\ntarget-port: 1") + "---\n" +
			manifest("Flow", "e", "stream: web\nvips: [v6]\nprotocols: [tcp]\npriority: 5\ndestination-ports: ['0']\ntarget-port: 1") + "---\n" +
			manifest("Flow", "f", "stream: web\nvips: [v6]\nprotocols: [tcp]\npriority: 6\ndestination-ports: ['1']\ntarget-port: 65536") + "---\n" +
			manifest("Flow", "g", "stream: web\nvips: [v6]\nprotocols: [tcp]\npriority: 7\ndestination-ports: ['80-80']\ntarget-port: 65535"), []string{
			`f:9: Flow a: spec.target-port: must be between 1 and 65535`,
			`f:19: Flow b: spec.target-port: needs exactly one entry in destination-ports, a single port such as "80"; there are 0`,
			`f:30: Flow c: spec.target-port: needs exactly one entry in destination-ports, a single port such as "80"; there are 2`,
			`f:41: Flow d: spec.target-port: needs a single destination port such as "80", not "any"`,
			`f:52: Flow e: spec.target-port: destination port 0 cannot be translated`,
			`f:63: Flow f: spec.target-port: must be between 0 and 65535, not 65536`,
		}},
		{"affinity and clamp", manifest("Conduit", "a", "affinity: {max-flows: -1}\nmss-clamp: 1") + "---\n" +
			manifest("Conduit", "b", "affinity: {max-flows: 16777217}\nmss-clamp: true") + "---\n" +
			manifest("Conduit", "c", "affinity: {max-flows: 16777216}") + "---\n" + manifest("Conduit", "d", "affinity: {max-flow: 1}"), []string{
			`f:5: Conduit a: spec.affinity.max-flows: must be between 0 (off) and 16777216, not -1`,
			`f:6: Conduit a: spec.mss-clamp: must be true or false, not the number 1`,
			`f:12: Conduit b: spec.affinity.max-flows: must be between 0 (off) and 16777216, not 16777217`,
			`f:25: Conduit d: spec.affinity.max-flow: unknown field; did you mean "max-flows"?`,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) { checkProblems(t, tt.yaml, tt.want) })
	}
}

func TestTooManyTranslations(t *testing.T) {
	var nats strings.Builder
	for i := range classify.MaxNATs/2 + 1 {
		fmt.Fprintf(&nats, "- {port: %d, target-port: %d, vips: [inner, apart], protocol: tcp}\n", i+1, i+1)
	}
	checkProblems(t, nested(nats.String()), []string{
		`f:6: Conduit n: spec.destination-port-nats: stands for 16386 translations, one for each vip of an entry; a conduit has at most 16384`,
	})
}

// TestOtherDialects: Meridio's kinds do not have the fields that are ours.
func TestOtherDialects(t *testing.T) {
	const yaml = `apiVersion: meridio.nordix.org/v1
kind: Conduit
metadata: {name: x, labels: {trench: a}}
spec: {mss-clamp: true, affinity: {max-flows: 1}}
---
apiVersion: meridio.nordix.org/v1alpha1
kind: Flow
metadata: {name: x, labels: {trench: a}}
spec: {stream: web, vips: [v6], protocols: [tcp], priority: 1, destination-ports: ["80"], target-port: 8080, targetport: 1}
`
	checkProblems(t, yaml, []string{
		`f:4: Conduit x: spec.mss-clamp: unknown field; only weft.dev/v1alpha1 has it`,
		`f:4: Conduit x: spec.affinity: unknown field; only weft.dev/v1alpha1 has it`,
		`f:9: Flow x: spec.target-port: unknown field; only weft.dev/v1alpha1 has it`,
		`f:9: Flow x: spec.targetport: unknown field`,
	})
}

// TestPortIndex compares with looking at everything that was added.
func TestPortIndex(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	prefix := func() netip.Prefix {
		addr := netip.AddrFrom4([4]byte{20, 0, 0, byte(r.IntN(16))})
		if r.IntN(3) == 0 {
			addr = netip.AddrFrom16([16]byte{0: 0x20, 15: byte(r.IntN(16))})
		}
		p, _ := addr.Prefix(addr.BitLen() - r.IntN(5))
		return p
	}
	type added struct {
		p     netip.Prefix
		ports []classify.PortRange
		doc   *Document
	}
	for range 300 {
		x := portIndex{}
		var all []added
		for range 1 + r.IntN(12) {
			a := added{p: prefix(), doc: &Document{}}
			for range r.IntN(3) {
				first := uint16(r.IntN(20))
				a.ports = append(a.ports, classify.PortRange{First: first, Last: first + uint16(r.IntN(5))})
			}
			all = append(all, a)
			x.add(a.p, classify.TCP, a.ports, a.doc)
		}
		x.build()
		for _, ask := range all {
			for port := range uint16(26) {
				owners := map[*Document]bool{}
				for _, a := range all {
					for _, p := range a.ports {
						if a.p.Overlaps(ask.p) && p.First <= port && port <= p.Last {
							owners[a.doc] = true
						}
					}
				}
				if got := x.find(ask.p, classify.TCP, port); (got == nil) != (len(owners) == 0) || got != nil && !owners[got] {
					t.Fatalf("%v port %d of %v: found %p of %v", all, port, ask.p, got, owners)
				}
			}
		}
	}
	if d := (portIndex{}).find(prefix(), classify.UDP, 1); d != nil {
		t.Error("an empty index finds something")
	}
}
