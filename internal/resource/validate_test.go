// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// base is a valid set that the cases below add to.
const base = `
apiVersion: weft.dev/v1alpha1
kind: Trench
metadata: {name: a}
---
apiVersion: weft.dev/v1alpha1
kind: Trench
metadata: {name: four, namespace: other}
spec: {ip-family: ipv4}
---
apiVersion: weft.dev/v1alpha1
kind: Conduit
metadata: {name: lb, labels: {trench: a}}
---
apiVersion: weft.dev/v1alpha1
kind: Conduit
metadata: {name: lb2, labels: {trench: a}}
---
apiVersion: weft.dev/v1alpha1
kind: Stream
metadata: {name: web, labels: {trench: a}}
spec: {conduit: lb}
---
apiVersion: weft.dev/v1alpha1
kind: Stream
metadata: {name: api, labels: {trench: a}}
spec: {conduit: lb}
---
apiVersion: weft.dev/v1alpha1
kind: Stream
metadata: {name: far, labels: {trench: a}}
spec: {conduit: lb2}
---
apiVersion: weft.dev/v1alpha1
kind: Vip
metadata: {name: v4, labels: {trench: a}}
spec: {address: 20.0.0.1/32}
---
apiVersion: weft.dev/v1alpha1
kind: Vip
metadata: {name: v6, labels: {trench: a}}
spec: {address: 2000::1/128}
---
apiVersion: weft.dev/v1alpha1
kind: Flow
metadata: {name: web, labels: {trench: a}}
spec: {stream: web, vips: [v4], protocols: [tcp], priority: 5, destination-ports: ["80"]}
---
apiVersion: weft.dev/v1alpha1
kind: Gateway
metadata: {name: gw, labels: {trench: a}}
spec: {address: 10.0.0.254, protocol: static, static: {bfd: {switch: false}}}
---
apiVersion: weft.dev/v1alpha1
kind: Attractor
metadata: {name: att, labels: {trench: a}}
spec: {composites: [lb], gateways: [gw], vips: [v4], interface: {name: ext, type: host-device}}
`

// manifest returns one object; the spec starts in line 5.
func manifest(kind, name, spec string) string {
	labels := ", labels: {trench: a}"
	if kind == "Trench" {
		labels = ""
	}
	lines := strings.Split(strings.TrimSpace(spec), "\n")
	return fmt.Sprintf("apiVersion: weft.dev/v1alpha1\nkind: %s\nmetadata: {name: %s%s}\nspec:\n  %s\n",
		kind, name, labels, strings.Join(lines, "\n  "))
}

func TestBaseIsValid(t *testing.T) {
	if got := loadProblems(t, File{"base", []byte(base)}); len(got) > 0 {
		t.Errorf("problems: %s", strings.Join(got, "\n"))
	}
}

func TestValidation(t *testing.T) {
	const minimalFlow = "stream: web\nvips: [v6]\nprotocols: [tcp]\npriority: 1\n"
	const minimalAttractor = "composites: [lb2]\n"
	tests := []struct {
		name, yaml string
		want       []string
	}{
		// Metadata.
		{"no metadata", "apiVersion: weft.dev/v1alpha1\nkind: Vip\nspec: {address: 1.2.3.4/32}\n", []string{
			`f:1: Vip (no name): metadata.name: must not be empty`,
			`f:1: Vip (no name): metadata.labels.trench: is missing; it names the trench that the Vip belongs to`,
		}},
		{"bad name", manifest("Conduit", "Lb_1", "type: stateless-lb"), []string{
			`f:3: Conduit Lb_1: metadata.name: "Lb_1" is not a name; use lower-case letters, digits and '-', with a letter or digit at both ends`,
		}},
		{"a dot in a conduit's name", manifest("Conduit", "l.b", "type: stateless-lb"), []string{
			`f:3: Conduit l.b: metadata.name: "l.b" is not a name; use lower-case letters, digits and '-', with a letter or digit at both ends`,
		}},
		{"a dot in a stream's name", manifest("Stream", "w.x", "conduit: lb"), []string{}},
		{"long names", manifest("Trench", strings.Repeat("t", 43), "ip-family: ipv4") + "---\n" +
			manifest("Conduit", strings.Repeat("c", 57), "type: stateless-lb") + "---\n" +
			manifest("Conduit", strings.Repeat("c", 58), "type: stateless-lb"), []string{
			`f:3: Trench ` + strings.Repeat("t", 43) + `: metadata.name: has 43 characters; the name of a Trench has at most 42`,
			`f:15: Conduit ` + strings.Repeat("c", 58) + `: metadata.name: has 58 characters; the name of a Conduit has at most 57`,
		}},
		{"bad namespace", "apiVersion: weft.dev/v1alpha1\nkind: Trench\nmetadata: {name: x, namespace: A}\n", []string{
			`f:3: Trench A/x: metadata.namespace: "A" is not a namespace; use at most 63 lower-case letters, digits and '-'`,
		}},
		{"defined twice", manifest("Stream", "s", "conduit: lb") + "---\n" + manifest("Stream", "s", "conduit: lb2"), []string{
			`f:9: Stream s: metadata.name: Stream s is defined twice, first at f:1`,
		}},
		{"trench names are unique", "apiVersion: weft.dev/v1alpha1\nkind: Trench\nmetadata: {name: a, namespace: n}\n", []string{
			`f:3: Trench n/a: metadata.name: namespace default has a trench "a" too; trench names are unique on the mesh`,
		}},
		{"no such trench", "apiVersion: weft.dev/v1alpha1\nkind: Conduit\nmetadata:\n  name: x\n  labels:\n    trench: b\n", []string{
			`f:6: Conduit x: metadata.labels.trench: there is no Trench "b" in namespace default`,
		}},

		// Trench, Conduit, Stream, Vip.
		{"ip-family", manifest("Trench", "x", "ip-family: both"), []string{
			`f:5: Trench x: spec.ip-family: "both" is not allowed; use ipv4, ipv6, dualstack`,
		}},
		{"conduit type", manifest("Conduit", "x", "type: router"), []string{
			`f:5: Conduit x: spec.type: "router" is not allowed; use stateless-lb`,
		}},
		{"max-targets", manifest("Stream", "x", "conduit: lb\nmax-targets: 0") + "---\n" + manifest("Stream", "y", "conduit: lb\nmax-targets: 10001"), []string{
			`f:6: Stream x: spec.max-targets: must be between 1 and 10000, not 0`,
			`f:13: Stream y: spec.max-targets: must be between 1 and 10000, not 10001`,
		}},
		{"table-size", strings.Join([]string{
			manifest("Stream", "a", "conduit: lb\ntable-size: 100"), manifest("Stream", "b", "conduit: lb\ntable-size: 16777259"),
			manifest("Stream", "c", "conduit: lb\ntable-size: 97"), manifest("Stream", "d", "conduit: lb\nmax-targets: 97\ntable-size: 97"),
			manifest("Stream", "e", "conduit: lb\ntable-size: 0"), manifest("Stream", "f", "conduit: lb\ntable-size: 16777213"),
		}, "---\n"), []string{
			`f:6: Stream a: spec.table-size: must be a prime number, which 100 is not`,
			`f:13: Stream b: spec.table-size: must be at most 16777213, not 16777259`,
			`f:20: Stream c: spec.table-size: 97 slots are too few for 100 targets (max-targets)`,
			`f:35: Stream e: spec.table-size: must be a prime number, which 0 is not`,
		}},
		{"stream without conduit", manifest("Stream", "x", "max-targets: 1"), []string{
			`f:5: warning: Stream x: spec.conduit: the stream has no conduit, so no traffic can reach it`,
		}},
		{"no such conduit", manifest("Stream", "x", "conduit: nope"), []string{
			`f:5: Stream x: spec.conduit: there is no Conduit "nope" in namespace default`,
		}},
		{"vip addresses", strings.Join([]string{
			manifest("Vip", "a", "address: 20.0.0.2"), manifest("Vip", "b", "address: 20.0.0.1/24"),
			manifest("Vip", "c", "address: '::ffff:1.2.3.4/128'"), manifest("Vip", "d", "address: hello"),
			manifest("Vip", "e", "address: 224.0.0.1/32"), manifest("Vip", "f", "address: 0.0.0.0/0"),
			manifest("Vip", "g", "address: ''"), manifest("Vip", "h", "address: 40.0.0.0/24"),
		}, "---\n"), []string{
			`f:5: Vip a: spec.address: "20.0.0.2" has no prefix length; write 20.0.0.2/32`,
			`f:11: Vip b: spec.address: "20.0.0.1/24" has bits set beyond its prefix length; write 20.0.0.0/24`,
			`f:17: Vip c: spec.address: "::ffff:1.2.3.4/128" is an IPv4 address written as IPv6; write it as IPv4`,
			`f:23: Vip d: spec.address: "hello" is not a prefix in CIDR form such as 20.0.0.1/32 or 2000::1/128`,
			`f:29: Vip e: spec.address: 224.0.0.1/32 is not a unicast address that can be routed`,
			`f:35: Vip f: spec.address: 0.0.0.0/0 contains 0.0.0.0/8, which is not a unicast address that can be routed`,
			`f:41: Vip g: spec.address: must not be empty`,
		}},
		{"same address", manifest("Vip", "x", "address: 20.0.0.1/32"), []string{
			`f:5: warning: Vip x: spec.address: Vip v4 has the address 20.0.0.1/32 too`,
		}},
		{"ip-family against addresses", `apiVersion: weft.dev/v1alpha1
kind: Vip
metadata: {name: x, namespace: other, labels: {trench: four}}
spec: {address: "2000::1/128"}
---
apiVersion: weft.dev/v1alpha1
kind: Gateway
metadata: {name: x, namespace: other, labels: {trench: four}}
spec: {address: "fe80::1", protocol: static}
`, []string{
			`f:4: Vip other/x: spec.address: 2000::1/128 does not fit trench "four", which is ipv4`,
			`f:9: Gateway other/x: spec.address: fe80::1 does not fit trench "four", which is ipv4`,
		}},
		{"port NATs", manifest("Conduit", "x", `destination-port-nats:
- {port: 80, target-port: 4000, vips: [v4], protocol: tcp}
- {port: 80, target-port: 4000, vips: [v6], protocol: tcp}
- {port: 4000, target-port: 9, vips: [v4], protocol: tcp}
- {port: 80, target-port: 4000, vips: [v4], protocol: udp}
- {port: 0, target-port: 1, vips: [nope, nope], protocol: icmp}
- {port: 1, target-port: 2, vips: [], protocol: sctp}`), []string{
			`f:7: Conduit x: spec.destination-port-nats[1]: has the same port, target-port and protocol as [0]; list the vips of both in one entry`,
			`f:10: Conduit x: spec.destination-port-nats[4].port: must be between 1 and 65535`,
			`f:10: Conduit x: spec.destination-port-nats[4].vips[1]: "nope" stands here twice, first at [0]`,
			`f:10: Conduit x: spec.destination-port-nats[4].protocol: "icmp" is not allowed; use tcp, udp, sctp`,
			`f:10: Conduit x: spec.destination-port-nats[4].vips[0]: there is no Vip "nope" in namespace default`,
			`f:10: Conduit x: spec.destination-port-nats[4].vips[1]: there is no Vip "nope" in namespace default`,
			`f:11: Conduit x: spec.destination-port-nats[5].vips: must name at least one vip`,
		}},

		// Flow.
		{"flow without anything", manifest("Flow", "x", "stream: web"), []string{
			`f:5: Flow x: spec.vips: is missing; it names the destination addresses`,
			`f:5: Flow x: spec.protocols: must name at least one of tcp, udp, sctp`,
			`f:5: Flow x: spec.priority: is missing; the flow with the highest priority wins`,
		}},
		{"flow that is not finished", manifest("Flow", "x", "vips: []\nprotocols: [tcp]\npriority: 0"), []string{
			`f:5: warning: Flow x: spec.stream: the flow has no stream, so its traffic is dropped`,
			`f:5: warning: Flow x: spec.vips: the list is empty, so the flow matches nothing`,
		}},
		{"flow lists", manifest("Flow", "x", `stream: nope
vips: [v6, v6, nope]
protocols: [tcp, TCP, tcp]
priority: -1
source-subnets: [10.0.0.0/8, 10.1.0.0/16, 10.2.0.1/16, "::/0", 10.0.0.0/8, x]
source-ports: ["80", "70-90", "85-100", any]
destination-ports: ["1-", "-1", "5-4", "65536", "", "+1", "1-2-3", "0-65535"]`), []string{
			`f:5: Flow x: spec.stream: there is no Stream "nope" in namespace default`,
			`f:6: Flow x: spec.vips[1]: "v6" stands here twice, first at [0]`,
			`f:6: Flow x: spec.vips[2]: there is no Vip "nope" in namespace default`,
			`f:7: Flow x: spec.protocols[1]: "TCP" is not allowed; use tcp, udp, sctp`,
			`f:7: Flow x: spec.protocols[2]: "tcp" stands here twice, first at [0]`,
			`f:8: Flow x: spec.priority: must be 0 or more, not -1`,
			`f:9: Flow x: spec.source-subnets[2]: "10.2.0.1/16" has bits set beyond its prefix length; write 10.2.0.0/16`,
			`f:9: Flow x: spec.source-subnets[5]: "x" is not a prefix in CIDR form such as 20.0.0.1/32 or 2000::1/128`,
			`f:9: Flow x: spec.source-subnets[4]: 10.0.0.0/8 overlaps with [0] 10.0.0.0/8`,
			`f:9: Flow x: spec.source-subnets[1]: 10.1.0.0/16 overlaps with [0] 10.0.0.0/8`,
			`f:10: Flow x: spec.source-ports[3]: "any" overlaps with [1] "70-90"`,
			`f:10: Flow x: spec.source-ports[3]: "any" overlaps with [0] "80"`,
			`f:10: Flow x: spec.source-ports[3]: "any" overlaps with [2] "85-100"`,
			`f:11: Flow x: spec.destination-ports[0]: "1-" is not a port; write "n", "n-m" or "any" with ports from 0 to 65535`,
			`f:11: Flow x: spec.destination-ports[1]: "-1" is not a port; write "n", "n-m" or "any" with ports from 0 to 65535`,
			`f:11: Flow x: spec.destination-ports[2]: "5-4" ends before it starts`,
			`f:11: Flow x: spec.destination-ports[3]: "65536" is not a port; write "n", "n-m" or "any" with ports from 0 to 65535`,
			`f:11: Flow x: spec.destination-ports[4]: "" is not a port; write "n", "n-m" or "any" with ports from 0 to 65535`,
			`f:11: Flow x: spec.destination-ports[5]: "+1" is not a port; write "n", "n-m" or "any" with ports from 0 to 65535`,
			`f:11: Flow x: spec.destination-ports[6]: "1-2-3" is not a port; write "n", "n-m" or "any" with ports from 0 to 65535`,
		}},
		{"byte matches", manifest("Flow", "x", minimalFlow+`byte-matches:
- tcp[2:2] = 4002
- 'tcp[ 0 : 4 ] & 0x0000fff0 = 0xfa0'
- icmp[0:1] = 1
- tcp[2:3] = 1
- tcp[60:4] = 1
- udp[61:1] = 1
- tcp[2:1] = 256
- tcp[2:1] & 0x100 = 1
- tcp[2:1] & 0x0 = 0
- tcp[2:1] & 0xf0 = 0x1
- tcp[2:1] = 0xFF`), []string{
			`f:10: Flow x: spec.byte-matches: has 11 entries; a flow has at most 10`,
			`f:12: Flow x: spec.byte-matches[2]: "icmp[0:1] = 1" is not a byte match; write "protocol[offset:width] & 0xmask = value" with tcp, udp or sctp, width 1, 2 or 4 and an optional mask`,
			`f:13: Flow x: spec.byte-matches[3]: "tcp[2:3] = 1" is not a byte match; write "protocol[offset:width] & 0xmask = value" with tcp, udp or sctp, width 1, 2 or 4 and an optional mask`,
			`f:15: Flow x: spec.byte-matches[5]: "udp[61:1] = 1": the offset must be between 0 and 60, not 61`,
			`f:16: Flow x: spec.byte-matches[6]: "tcp[2:1] = 256": the value does not fit into 1 byte(s)`,
			`f:17: Flow x: spec.byte-matches[7]: "tcp[2:1] & 0x100 = 1": the mask does not fit into 1 byte(s)`,
			`f:18: Flow x: spec.byte-matches[8]: "tcp[2:1] & 0x0 = 0": the mask selects no bit`,
			`f:19: Flow x: spec.byte-matches[9]: "tcp[2:1] & 0xf0 = 0x1" can never match: the value has bits that the mask clears`,
			`f:20: Flow x: spec.byte-matches[10]: "tcp[2:1] = 0xFF" is not a byte match; write "protocol[offset:width] & 0xmask = value" with tcp, udp or sctp, width 1, 2 or 4 and an optional mask`,
		}},
		{"byte match of another protocol", manifest("Flow", "x", minimalFlow+"byte-matches: ['udp[0:2] = 1']"), []string{
			`f:9: warning: Flow x: spec.byte-matches[0]: has no effect: udp is not among the flow's protocols`,
		}},
		{"vip in two conduits", manifest("Flow", "x", "stream: far\nvips: [v4]\nprotocols: [udp]\npriority: 1"), []string{
			`f:6: Flow x: spec.vips[0]: vip "v4" is used in conduit "lb" by flow "web" and cannot be used in conduit "lb2" too`,
		}},
		{"equal priorities that collide", manifest("Flow", "x", "stream: api\nvips: [v6, v4]\nprotocols: [udp, tcp]\npriority: 5\ndestination-ports: ['70-90']"), []string{
			`f:8: warning: Flow x: spec.priority: flow "web" has priority 5 too, matches common traffic of vip "v4" and leads to stream "web"; the name that sorts first wins`,
		}},
		{"equal priorities that do not collide", manifest("Flow", "x", "stream: api\nvips: [v4]\nprotocols: [tcp]\npriority: 5\ndestination-ports: ['81-90']"), []string{}},
		{"another priority", manifest("Flow", "x", "stream: api\nvips: [v4]\nprotocols: [tcp]\npriority: 6"), []string{}},

		// Gateway.
		{"static gateway", manifest("Gateway", "x", "address: 10.0.0.1\nprotocol: static\nbgp: {local-asn: 1}\nstatic: {bfd: {switch: true, min-tx: 0ms, min-rx: 5, multiplier: 256}}"), []string{
			`f:7: Gateway x: spec.bgp: must be empty with protocol static`,
			`f:8: Gateway x: spec.static.bfd.min-rx: must be a string, not the number 5; write "5"`,
			`f:8: Gateway x: spec.static.bfd.min-tx: must be between 1ms and 1h11m34.967s, not 0ms`,
			`f:8: Gateway x: spec.static.bfd.multiplier: must be between 1 and 255, not 256`,
		}},
		{"bgp gateway", manifest("Gateway", "x", `address: 10.0.0.1/24
protocol: BGP
static: {bfd: {switch: false}}
bgp: {remote-asn: 0, hold-time: 2s, local-port: 0, remote-port: 0, bfd: {switch: true, min-rx: soon}, auth: {key-name: "a b", key-source: "-"}}`), []string{
			`f:5: Gateway x: spec.address: "10.0.0.1/24" is not an IP address`,
			`f:7: Gateway x: spec.static: must be empty with protocol bgp`,
			`f:8: Gateway x: spec.bgp.local-asn: is missing; protocol bgp needs it`,
			`f:8: Gateway x: spec.bgp.remote-asn: must be between 1 and 4294967295`,
			`f:8: Gateway x: spec.bgp.local-port: must be between 1 and 65535`,
			`f:8: Gateway x: spec.bgp.remote-port: must be between 1 and 65535`,
			`f:8: Gateway x: spec.bgp.hold-time: must be between 3s and 18h12m15s, not 2s`,
			`f:8: Gateway x: spec.bgp.bfd.min-rx: "soon" is not a duration; write a number with ms, s, m or h`,
			`f:8: Gateway x: spec.bgp.auth.key-name: "a b" is not a key; use letters, digits, '.', '-' and '_'`,
			`f:8: Gateway x: spec.bgp.auth.key-source: "-" is not the name of a Secret`,
		}},
		{"gateway protocol and address", manifest("Gateway", "x", "address: 224.0.0.1\nprotocol: ospf"), []string{
			`f:5: Gateway x: spec.address: 224.0.0.1 is not a unicast address of a router`,
			`f:6: Gateway x: spec.protocol: "ospf" is not allowed; use bgp, static`,
		}},

		{"gateway far away", manifest("Gateway", "x", `address: 10.0.0.1
protocol: bgp
bgp: {local-asn: 23456, remote-asn: 4294967295, hold-time: 3500ms, multihop: 1, ttl-security: 255, extended-next-hop: true, bfd: {strict: true}}`), []string{
			`f:7: Gateway x: spec.bgp.local-asn: 23456 is reserved: it is no number of an autonomous system`,
			`f:7: Gateway x: spec.bgp.remote-asn: 4294967295 is reserved: it is no number of an autonomous system`,
			`f:7: Gateway x: spec.bgp.hold-time: must be whole seconds, not 3500ms`,
			`f:7: Gateway x: spec.bgp.ttl-security: must be between 1 (on the link) and 254, not 255`,
			`f:7: Gateway x: spec.bgp.multihop: must be between 2 and 255, not 1; leave it out for a router on the link`,
			`f:7: Gateway x: spec.bgp.bfd.strict: needs bfd.switch: true`,
			`f:7: Gateway x: spec.bgp.extended-next-hop: needs a session over IPv6; the address 10.0.0.1 is IPv4`,
		}},
		{"gateway hops and keys", manifest("Gateway", "x", `address: fd00::1
protocol: bgp
bgp: {local-asn: 1, remote-asn: 2, multihop: 9, ttl-security: 3, bfd: {switch: true, auth: {type: keyed-sha1, key-id: 256, key-name: "..", key-source: s}}}`) +
			"---\n" + manifest("Gateway", "y", "address: fd00::2\nprotocol: static\nstatic: {bfd: {strict: true, auth: {type: md5}}}") +
			"---\n" + manifest("Gateway", "z", "address: fd00::3\nprotocol: static\nstatic: {bfd: {auth: {key-id: 1}}}"), []string{
			`f:7: Gateway x: spec.bgp.bfd.auth.key-id: must be between 0 and 255, not 256`,
			`f:7: Gateway x: spec.bgp.bfd.auth.key-name: ".." is not a key; use letters, digits, '.', '-' and '_'`,
			`f:7: Gateway x: spec.bgp.multihop: cannot be combined with ttl-security, which sends with TTL 255 and says how far away the router may be itself`,
			`f:7: Gateway x: spec.bgp.bfd.multihop: must be true: BFD without it watches routers on the link only, and this one need not be there`,
			`f:15: Gateway y: spec.static.bfd.auth.type: "md5" is not allowed; use none, keyed-sha1, meticulous-keyed-sha1`,
			`f:15: Gateway y: spec.static.bfd.strict: is for protocol bgp: it holds back the BGP session until BFD is up`,
			`f:23: Gateway z: spec.static.bfd.auth.type: must be keyed-sha1 or meticulous-keyed-sha1 when a key is given`,
		}},

		// Attractor.
		{"router id", manifest("Attractor", "x", minimalAttractor+"interface: {name: x, type: host-device}\nreplicas: 2\nrouter-id: 1.2.3.4\ngraceful-restart: 2h"), []string{
			`f:8: Attractor x: spec.router-id: cannot be one for 2 replicas: each needs its own; leave it out, and it is made of the replica's name`,
			`f:9: Attractor x: spec.graceful-restart: must be between 0s and 1h8m15s, not 2h`,
		}},
		{"gateways of an attractor", manifest("Gateway", "one", "address: 10.9.0.1\nbgp: {local-asn: 1, remote-asn: 2}") + "---\n" +
			manifest("Gateway", "two", "address: 10.9.0.1\nbgp: {local-asn: 1, remote-asn: 2, local-port: 180}") + "---\n" +
			manifest("Gateway", "far", "address: 10.8.0.1\nprotocol: static") + "---\n" +
			manifest("Gateway", "farther", "address: 10.8.0.2\nbgp: {local-asn: 1, remote-asn: 2, multihop: 5}") + "---\n" +
			manifest("Gateway", "vip", "address: 30.0.0.1\nbgp: {local-asn: 1, remote-asn: 2, multihop: 5}") + "---\n" +
			manifest("Vip", "inside", "address: 10.9.0.8/32") + "---\n" + manifest("Vip", "net", "address: 30.0.0.0/24") + "---\n" +
			manifest("Attractor", "x", "composites: [lb2]\ngateways: [one, two, far, farther, vip]\nvips: [inside, net]\ninterface: {name: x, type: host-device, ipv4-prefix: 10.9.0.0/24}"), []string{
			`f:53: Attractor x: spec.gateways[1]: gateways "one" and "two" have one address, 10.9.0.1`,
			`f:53: Attractor x: spec.gateways[2]: the address 10.8.0.1 is not in the attractor's network 10.9.0.0/24, so it cannot be reached; a BGP router elsewhere needs bgp.multihop`,
			`f:53: Attractor x: spec.gateways[4]: the address 30.0.0.1 of gateway "vip" is in vip "net" (30.0.0.0/24)`,
			`f:54: Attractor x: spec.vips[0]: the address 10.9.0.8/32 of vip "inside" is in the attractor's network 10.9.0.0/24, where routers look for it on the link`,
		}},
		{"attractors on one VLAN", manifest("Attractor", "x", minimalAttractor+"interface: {name: x, ipv4-prefix: 10.9.0.1-10.9.0.9/24, ipv6-prefix: 'fd09::/64', nsm-vlan: {base-interface: eth0, vlan-id: 7}}") + "---\n" +
			manifest("Conduit", "lb3", "type: stateless-lb") + "---\n" +
			manifest("Attractor", "y", "composites: [lb3]\ninterface: {name: y, ipv4-prefix: 10.9.0.10-10.9.0.19/24, ipv6-prefix: 'fd09::/64', nsm-vlan: {base-interface: eth0, vlan-id: 7}}"), []string{
			`f:19: Attractor y: spec.interface.ipv6-prefix: fd09::-fd09::ffff:ffff:ffff:ffff and attractor "x" have addresses in common on VLAN 7 of eth0; give each ranges of its own, such as "first-last/64"`,
		}},
		{"attractor lists", manifest("Attractor", "x", "replicas: -1\ncomposites: [lb2, lb]\ngateways: [gw, nope]\nvips: [v4, v4]\ninterface: {name: much-too-long-1, type: host-device, nsm-vlan: {vlan-id: 1}, network-attachments: [{name: x}]}"), []string{
			`f:5: Attractor x: spec.replicas: must be 0 or more, not -1`,
			`f:6: Attractor x: spec.composites: must name exactly one conduit, not 2`,
			`f:6: Attractor x: spec.composites[1]: conduit "lb" belongs to attractor "att" already`,
			`f:7: Attractor x: spec.gateways[1]: there is no Gateway "nope" in namespace default`,
			`f:8: Attractor x: spec.vips[1]: "v4" stands here twice, first at [0]`,
			`f:8: Attractor x: spec.vips[0]: vip "v4" belongs to attractor "att" already`,
			`f:9: Attractor x: spec.interface.name: "much-too-long-1" has 15 characters; an interface name here has at most 13`,
			`f:9: Attractor x: spec.interface.nsm-vlan: must be empty with type host-device`,
			`f:9: Attractor x: spec.interface.network-attachments: must be empty with type host-device`,
		}},
		{"vlan", manifest("Attractor", "x", minimalAttractor+"interface: {name: 'a/b', ipv4-prefix: 10.0.0.5/24, nsm-vlan: {vlan-id: 4095}}") + "---\n" +
			manifest("Attractor", "y", minimalAttractor+"interface: {ipv4-prefix: '::/64', ipv6-prefix: 10.0.0.0/8}"), []string{
			`f:6: Attractor x: spec.interface.name: "a/b" is not an interface name; ':', '/' and white space are not allowed`,
			`f:6: Attractor x: spec.interface.ipv4-prefix: "10.0.0.5/24" has bits set beyond its prefix length; write 10.0.0.0/24`,
			`f:6: Attractor x: spec.interface.nsm-vlan.base-interface: must not be empty`,
			`f:6: Attractor x: spec.interface.nsm-vlan.vlan-id: must be between 0 and 4094, not 4095`,
			`f:6: Attractor x: spec.interface.ipv6-prefix: is missing; type nsm-vlan in a trench that is dualstack needs it`,
			`f:12: Attractor y: spec.composites[0]: conduit "lb2" belongs to attractor "x" already`,
			`f:13: Attractor y: spec.interface.name: must not be empty`,
			`f:13: Attractor y: spec.interface.ipv4-prefix: ::/64 is an ipv6 prefix`,
			`f:13: Attractor y: spec.interface.ipv6-prefix: 10.0.0.0/8 is an ipv4 prefix`,
			`f:13: Attractor y: spec.interface.nsm-vlan: is missing; type nsm-vlan needs base-interface and vlan-id`,
		}},
		{"network attachments", manifest("Attractor", "x", minimalAttractor+"interface: {name: ext, type: network-attachment, ipv4-prefix: 10.0.0.0/8, network-attachments: [{}, {name: x, namespace: X, interface: 'a b'}]}"), []string{
			`f:6: Attractor x: spec.interface.ipv4-prefix: must be empty with type network-attachment: the attachment assigns the addresses`,
			`f:6: Attractor x: spec.interface.network-attachments: must have exactly one entry, not 2`,
			`f:6: Attractor x: spec.interface.network-attachments[0].name: "" is not the name of a NetworkAttachmentDefinition`,
			`f:6: Attractor x: spec.interface.network-attachments[1].namespace: "X" is not a namespace`,
			`f:6: Attractor x: spec.interface.network-attachments[1].interface: "a b" is not an interface name; ':', '/' and white space are not allowed`,
		}},
		{"macvlan", manifest("Attractor", "x", minimalAttractor+"interface: {name: ext, type: macvlan, ipv4-prefix: 10.0.0.0/24, ipv6-prefix: 'fd00::/64', macvlan: {base-interface: eth0}}"), []string{}},
		{"macvlan without one", manifest("Attractor", "x", minimalAttractor+"interface: {name: ext, type: macvlan, ipv4-prefix: 10.0.0.0/24, ipv6-prefix: 'fd00::/64'}"), []string{
			`f:6: Attractor x: spec.interface.macvlan: is missing; type macvlan needs base-interface`,
		}},
		{"macvlan of other types", manifest("Attractor", "x", minimalAttractor+"interface: {name: ext, type: macvlan, ipv4-prefix: 10.0.0.0/24, ipv6-prefix: 'fd00::/64', macvlan: {}, nsm-vlan: {base-interface: eth0, vlan-id: 7}}"), []string{
			`f:6: Attractor x: spec.interface.nsm-vlan: must be empty with type macvlan`,
			`f:6: Attractor x: spec.interface.macvlan.base-interface: must not be empty`,
		}},
		{"another type with macvlan", manifest("Attractor", "x", minimalAttractor+"interface: {name: ext, type: host-device, ipv4-prefix: 10.0.0.0/24, ipv6-prefix: 'fd00::/64', macvlan: {base-interface: eth0}}"), []string{
			`f:6: Attractor x: spec.interface.macvlan: must be empty with type host-device`,
		}},
		{"macvlan's base interface", manifest("Attractor", "x", minimalAttractor+"interface: {name: ext, type: macvlan, macvlan: {base-interface: sixteen-letters-}}"), []string{
			`f:6: Attractor x: spec.interface.macvlan.base-interface: "sixteen-letters-" has 16 characters; an interface name here has at most 15`,
			`f:6: Attractor x: spec.interface.ipv4-prefix: is missing; type macvlan in a trench that is dualstack needs it`,
			`f:6: Attractor x: spec.interface.ipv6-prefix: is missing; type macvlan in a trench that is dualstack needs it`,
		}},
		{"interface type", manifest("Attractor", "x", minimalAttractor+"interface: {name: ext, type: wire}"), []string{
			`f:6: Attractor x: spec.interface.type: "wire" is not allowed; use nsm-vlan, network-attachment, host-device, macvlan`,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := loadProblems(t, File{"base", []byte(base)}, File{"f", []byte(tt.yaml)})
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReferencesStayInTheTrench(t *testing.T) {
	got := loadProblems(t, File{"base", []byte(base)}, File{"f", []byte(`apiVersion: weft.dev/v1alpha1
kind: Trench
metadata: {name: b}
---
apiVersion: weft.dev/v1alpha1
kind: Stream
metadata: {name: s, labels: {trench: b}}
spec: {conduit: lb}
`)})
	want := []string{`f:8: Stream s: spec.conduit: Conduit "lb" belongs to trench "a", not to "b"`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestAddressRanges(t *testing.T) {
	tests := []struct{ in, network, err string }{
		{"169.254.100.0/24", "169.254.100.0/24", ""},
		{"192.168.100.1-192.168.100.100/24", "192.168.100.0/24", ""},
		{"100:100::2-100:100::ffff/64;100:100::a:2-100:100::a:f/64", "100:100::/64", ""},
		{"10.0.0.1-10.0.0.9/24;10.0.1.1-10.0.1.9/24", "", `"10.0.1.1-10.0.1.9/24" is in network 10.0.1.0/24, the range before it in 10.0.0.0/24`},
		{"10.0.0.0/24;10.0.1.0/24", "", `"10.0.0.0/24": only ranges like "10.0.0.2-10.0.0.9/24" can be joined by ";"`},
		{"10.0.0.9-10.0.0.1/24", "", `"10.0.0.9-10.0.0.1/24": the range ends before it starts`},
		{"10.1.0.1-10.0.0.9/24", "", `"10.1.0.1-10.0.0.9/24": 10.1.0.1 is not in 10.0.0.0/24`},
		{"x-10.0.0.9/24", "", `"x-10.0.0.9/24": "x" is not an address`},
		{"10.0.0.1-x", "", `"10.0.0.1-x": "x" is not an address with a prefix length`},
	}
	for _, tt := range tests {
		got, err := ParseAddressRanges(tt.in)
		if tt.err != "" {
			if err == nil || err.Error() != tt.err {
				t.Errorf("%s: error %v, want %s", tt.in, err, tt.err)
			}
			continue
		}
		if err != nil || got.String() != tt.network {
			t.Errorf("%s: %v, %v, want %s", tt.in, got, err, tt.network)
		}
	}
}
