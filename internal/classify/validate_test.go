// SPDX-License-Identifier: Apache-2.0

package classify

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func good() Set {
	vips := []netip.Prefix{netip.MustParsePrefix("20.0.0.1/32"), netip.MustParsePrefix("2000::/120")}
	return Set{VIPs: vips, Rules: []Rule{{Name: "a", VIPs: vips}}, MAC: make([]byte, 6)}
}

func TestValidate(t *testing.T) {
	if err := good().Validate(); err != nil {
		t.Fatal(err)
	}
	rule := func(change func(*Rule)) func(*Set) { return func(s *Set) { change(&s.Rules[0]) } }
	match := func(m ByteMatch) func(*Set) {
		return rule(func(r *Rule) { r.ByteMatches = []ByteMatch{m} })
	}
	vip := func(p netip.Prefix) func(*Set) { return func(s *Set) { s.VIPs[0] = p } }
	for want, change := range map[string]func(*Set){
		`VIP invalid Prefix: not a valid prefix`:       vip(netip.Prefix{}),
		`VIP 20.0.0.1/24: has bits after the prefix`:   vip(netip.MustParsePrefix("20.0.0.1/24")),
		`VIP 0.0.0.0/0: is the whole address space`:    vip(netip.MustParsePrefix("0.0.0.0/0")),
		`VIP 224.0.0.1/32: not a unicast address`:      vip(netip.MustParsePrefix("224.0.0.1/32")),
		`IPv4 address in IPv6 form`:                    vip(netip.MustParsePrefix("::ffff:20.0.0.1/128")),
		`MAC "": not 6 bytes`:                          func(s *Set) { s.MAC = nil },
		`rule "a": name used twice`:                    func(s *Set) { s.Rules = append(s.Rules, s.Rules[0]) },
		`rule "": no name`:                             rule(func(r *Rule) { r.Name = "" }),
		`rule "a": no VIP`:                             rule(func(r *Rule) { r.VIPs = nil }),
		`rule "a": source 10.0.0.1/8: has bits`:        rule(func(r *Rule) { r.Sources = []netip.Prefix{netip.MustParsePrefix("10.0.0.1/8")} }),
		`rule "a": source ports 2-1: first after last`: rule(func(r *Rule) { r.SourcePorts = []PortRange{{2, 1}} }),
		`rule "a": destination ports 9-8: first`:       rule(func(r *Rule) { r.DestinationPorts = []PortRange{{9, 8}} }),
		`rule "a": protocol 1: neither TCP, UDP`:       rule(func(r *Rule) { r.Protocols = []uint8{1} }),
		`rule "a": 11 byte matches: at most 10`:        rule(func(r *Rule) { r.ByteMatches = make([]ByteMatch, 11) }),
		`byte match 47[0:1]: protocol 47: neither`:     match(ByteMatch{Protocol: 47, Width: 1}),
		`byte match 6[0:3]: width 3: not 1, 2 or 4`:    match(ByteMatch{Protocol: TCP, Width: 3}),
		`byte match 17[61:4]: offset 61: at most 60`:   match(ByteMatch{Protocol: UDP, Offset: 61, Width: 4}),
		`mask 0x100: wider than 1 bytes`:               match(ByteMatch{Protocol: UDP, Width: 1, Mask: 0x100}),
		`value 0x2: has bits outside of mask 0x1`:      match(ByteMatch{Protocol: UDP, Width: 1, Mask: 1, Value: 2}),
		`16385 rules: at most 16384`: func(s *Set) {
			for i := range MaxRules {
				s.Rules = append(s.Rules, Rule{Name: fmt.Sprint(i), VIPs: s.VIPs})
			}
		},
	} {
		s := good()
		change(&s)
		if _, err := Compile(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// TestValidateJoins checks that one call names every problem.
func TestValidateJoins(t *testing.T) {
	s := good()
	s.MAC = nil
	s.Rules[0].Protocols = []uint8{1}
	s.Rules[0].SourcePorts = []PortRange{{2, 1}}
	err := s.Validate()
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("want three problems, got %v", err)
	}
}
