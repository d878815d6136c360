// SPDX-License-Identifier: Apache-2.0

package classify

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestValidateNATs(t *testing.T) {
	p := netip.MustParsePrefix
	nat := func(vip string, proto uint8, port, target uint16) NAT { return NAT{p(vip), proto, port, target} }
	rule := func(name string, target uint16, ports ...PortRange) Rule {
		return Rule{Name: name, VIPs: []netip.Prefix{p("20.0.0.1/32")}, DestinationPorts: ports, TargetPort: target}
	}
	for _, tt := range []struct {
		name  string
		nats  []NAT
		rules []Rule
		want  string // "": valid
	}{
		{"plain", []NAT{nat("20.0.0.1/32", TCP, 80, 8080), nat("20.0.0.1/32", UDP, 81, 8080), nat("20.0.0.2/32", TCP, 81, 8080)}, nil, ""},
		{"ports that swap", []NAT{nat("20.0.0.1/32", TCP, 80, 81), nat("20.0.0.1/32", TCP, 81, 80)}, nil, ""},
		{"an inner prefix with a target port of its own", []NAT{nat("20.0.0.0/28", TCP, 80, 8080), nat("20.0.0.1/32", TCP, 80, 9090)}, nil, ""},
		{"two rules of one port", nil, []Rule{rule("b", 8080, PortRange{80, 80}), rule("c", 9090, PortRange{80, 80})}, ""},
		{"a rule like the NAT", []NAT{nat("20.0.0.1/32", TCP, 80, 8080)}, []Rule{rule("b", 8080, PortRange{80, 80})}, ""},

		{"no VIP", []NAT{{}}, nil, `NAT invalid Prefix protocol 0 port 0 to 0: VIP invalid Prefix: not a valid prefix`},
		{"protocol", []NAT{nat("20.0.0.1/32", 1, 80, 81)}, nil, `protocol 1: neither TCP, UDP nor SCTP`},
		{"port", []NAT{nat("20.0.0.1/32", TCP, 0, 81)}, nil, `port 0: not a port to translate`},
		{"target port", []NAT{nat("20.0.0.1/32", TCP, 80, 0)}, nil, `target port 0: not a port to translate to`},
		{"twice", []NAT{nat("20.0.0.1/32", TCP, 80, 81), nat("20.0.0.1/32", TCP, 80, 82)}, nil,
			`NAT 20.0.0.1/32 protocol 6 port 80 to 82: port 80 is translated twice`},
		{"one target port", []NAT{nat("20.0.0.1/32", TCP, 80, 8080), nat("20.0.0.1/32", TCP, 81, 8080)}, nil,
			`NAT 20.0.0.1/32 protocol 6 port 81 to 8080: target port 8080 of VIP 20.0.0.1/32 stands for port 80 of VIP 20.0.0.1/32 already`},
		{"one target port of nested prefixes", []NAT{nat("20.0.0.1/32", TCP, 80, 8080), nat("20.0.0.0/28", TCP, 81, 8080)}, nil,
			`target port 8080 of VIP 20.0.0.0/28 stands for port 80 of VIP 20.0.0.1/32 already`},
		{"a rule against a NAT", []NAT{nat("20.0.0.1/32", SCTP, 80, 8080)}, []Rule{rule("b", 8080, PortRange{81, 81})},
			`rule "b": target port 8080 of VIP 20.0.0.1/32 stands for port 80 of VIP 20.0.0.1/32 already`},
		{"a rule of no port", nil, []Rule{rule("b", 8080)}, `rule "b": target port 8080: needs exactly one destination port`},
		{"a rule of two ports", nil, []Rule{rule("b", 8080, PortRange{80, 81})}, `rule "b": target port 8080: needs exactly one destination port`},
		{"a rule of port 0", nil, []Rule{rule("b", 8080, PortRange{0, 0})}, `rule "b": target port 8080: destination port 0 cannot be translated`},
		{"too many", make([]NAT, MaxNATs+1), nil, `16385 NATs: at most 16384`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := good()
			s.NATs, s.Rules = tt.nats, append(s.Rules, tt.rules...)
			err := s.Validate()
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestNATConflicts compares with looking at every pair: a conflict is found if
// there is one, and what is found is one.
func TestNATConflicts(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 2000 {
		nats := make([]NAT, 1+r.IntN(6))
		for i := range nats {
			addr := netip.AddrFrom4([4]byte{20, 0, 0, byte(r.IntN(4))})
			if r.IntN(4) == 0 {
				addr = netip.AddrFrom16([16]byte{0: 0x20, 15: byte(r.IntN(4))})
			}
			vip, _ := addr.Prefix(addr.BitLen() - r.IntN(3))
			nats[i] = NAT{vip, [...]uint8{TCP, UDP}[r.IntN(2)], uint16(1 + r.IntN(2)), uint16(1 + r.IntN(3))}
		}
		bad := func(a, b NAT) bool {
			return a.VIP.Overlaps(b.VIP) && a.Protocol == b.Protocol && a.TargetPort == b.TargetPort && a.Port != b.Port
		}
		want := slices.ContainsFunc(nats, func(a NAT) bool {
			return slices.ContainsFunc(nats, func(b NAT) bool { return bad(a, b) })
		})
		got := NATConflicts(nats)
		if want != (len(got) > 0) {
			t.Fatalf("%v: conflicts %v", nats, got)
		}
		for _, pair := range got {
			if pair[0] <= pair[1] || !bad(nats[pair[0]], nats[pair[1]]) {
				t.Fatalf("%v: conflicts %v", nats, got)
			}
		}
	}
}
