// SPDX-License-Identifier: Apache-2.0

package classify

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// Validate returns every problem of the translation, joined.
func (n NAT) Validate() error {
	var errs []error
	if err := checkVIP(n.VIP); err != nil {
		errs = append(errs, err)
	}
	if !slices.Contains(protocols[:], n.Protocol) {
		errs = append(errs, fmt.Errorf("protocol %d: neither TCP, UDP nor SCTP", n.Protocol))
	}
	if n.Port == 0 {
		errs = append(errs, errors.New("port 0: not a port to translate"))
	}
	if n.TargetPort == 0 {
		errs = append(errs, errors.New("target port 0: not a port to translate to"))
	}
	return errors.Join(errs...)
}

func (n NAT) String() string {
	return fmt.Sprintf("%s protocol %d port %d to %d", n.VIP, n.Protocol, n.Port, n.TargetPort)
}

// checkTargetPort checks that there is exactly one port that the target port
// stands for: replies are translated back by the target port alone.
func (r *Rule) checkTargetPort() error {
	switch p := r.DestinationPorts; {
	case r.TargetPort == 0:
		return nil
	case len(p) != 1 || p[0].First != p[0].Last:
		return fmt.Errorf("target port %d: needs exactly one destination port", r.TargetPort)
	case p[0].First == 0:
		return fmt.Errorf("target port %d: destination port 0 cannot be translated", r.TargetPort)
	}
	return nil
}

// translations returns what a valid rule translates.
func (r *Rule) translations() []NAT {
	if r.TargetPort == 0 || r.checkTargetPort() != nil {
		return nil
	}
	list := r.Protocols
	if len(list) == 0 {
		list = protocols[:]
	}
	var out []NAT
	for _, vip := range r.VIPs {
		for _, proto := range list {
			out = append(out, NAT{vip, proto, r.DestinationPorts[0].First, r.TargetPort})
		}
	}
	return out
}

func (s Set) checkNATs() []error {
	var errs []error
	if len(s.NATs) > MaxNATs {
		errs = append(errs, fmt.Errorf("%d NATs: at most %d", len(s.NATs), MaxNATs))
	}
	type outside struct {
		vip   netip.Prefix
		proto uint8
		port  uint16
	}
	seen := make(map[outside]bool, len(s.NATs))
	all := slices.Clone(s.NATs)
	for _, n := range s.NATs {
		if err := n.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("NAT %s: %w", n, err))
		}
		o := outside{n.VIP, n.Protocol, n.Port}
		if seen[o] {
			errs = append(errs, fmt.Errorf("NAT %s: port %d is translated twice", n, n.Port))
		}
		seen[o] = true
	}
	owner := make([]string, len(all)) // the rule's name, "" for a NAT
	for i := range s.Rules {
		for _, n := range s.Rules[i].translations() {
			all, owner = append(all, n), append(owner, s.Rules[i].Name)
		}
	}
	for _, pair := range NATConflicts(all) {
		n, other, what := all[pair[0]], all[pair[1]], "NAT "+all[pair[0]].String()
		if name := owner[pair[0]]; name != "" {
			what = fmt.Sprintf("rule %q", name)
		}
		errs = append(errs, fmt.Errorf("%s: target port %d of VIP %s stands for port %d of VIP %s already",
			what, n.TargetPort, n.VIP, other.Port, other.VIP))
	}
	return errs
}

// NATConflicts finds translations whose target port stands for another port
// already, so that replies could not be told apart: those of one protocol whose
// VIPs overlap, because a VIP takes over the translations of the prefixes
// around it. Each pair has the index of the translation that stands later in
// the list, then that of one it conflicts with.
func NATConflicts(nats []NAT) [][2]int {
	order := make([]int, 0, len(nats))
	for i, n := range nats {
		if n.VIP.IsValid() {
			order = append(order, i)
		}
	}
	slices.SortFunc(order, func(a, b int) int {
		x, y := nats[a], nats[b]
		return cmp.Or(cmp.Compare(x.Protocol, y.Protocol), cmp.Compare(x.TargetPort, y.TargetPort),
			comparePrefix(x.VIP, y.VIP), cmp.Compare(a, b))
	})
	var pairs [][2]int
	var around []int // the chain of prefixes around the current one, all of one port
	for _, i := range order {
		n := nats[i]
		for len(around) > 0 {
			top := nats[around[len(around)-1]]
			if top.Protocol == n.Protocol && top.TargetPort == n.TargetPort && top.VIP.Contains(n.VIP.Addr()) {
				break
			}
			around = around[:len(around)-1]
		}
		if len(around) > 0 {
			if top := around[len(around)-1]; nats[top].Port != n.Port {
				pairs = append(pairs, [2]int{max(i, top), min(i, top)})
				continue
			}
		}
		around = append(around, i)
	}
	slices.SortFunc(pairs, func(a, b [2]int) int { return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1])) })
	return pairs
}
