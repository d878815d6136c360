// SPDX-License-Identifier: Apache-2.0

package classify

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// natKey is a port of a VIP: an index into protocols and the port.
type natKey struct {
	proto uint8
	port  uint16
}

func (n NAT) key() natKey {
	return natKey{uint8(slices.Index(protocols[:], n.Protocol)), n.Port}
}

// translation is one entry of the table that a packet's port is looked up in.
type translation struct {
	natKey
	back bool   // of replies: from the target's port to the client's
	to   uint16 // port
}

// translations returns what is looked up at a VIP: the NATs, and the way back for
// them and for the rules that have a target port, sorted.
func (c *compiler) translations(v vip) []translation {
	all := make(map[translation]bool)
	for key, target := range v.nats {
		all[translation{natKey: key, to: target}] = true
		all[translation{natKey{key.proto, target}, true, key.port}] = true
	}
	for _, i := range v.rules {
		r := &c.set.Rules[i]
		if r.TargetPort == 0 {
			continue
		}
		for index, proto := range protocols {
			if len(r.Protocols) == 0 || slices.Contains(r.Protocols, proto) {
				all[translation{natKey{uint8(index), r.TargetPort}, true, r.DestinationPorts[0].First}] = true
			}
		}
	}
	return slices.SortedFunc(maps.Keys(all), func(a, b translation) int {
		return cmp.Compare(a.number(0), b.number(0))
	})
}

// number is the key in the blob, as nat_find in bpf/lib/classify.h makes it.
func (t translation) number(vip uint16) uint64 {
	number := uint64(vip) | uint64(t.proto)<<16 | uint64(networkOrder(t.port))<<32
	if t.back {
		number |= 1 << 24
	}
	return number
}

// networkOrder is a port as a little-endian machine loads it.
func networkOrder(port uint16) uint16 { return port<<8 | port>>8 }

// natTable collects the translations of VIPs; those that have the same share a
// number.
type natTable struct {
	numbers map[string]uint16
	keys    []key
	slots   []slot
}

// add returns the number of a list of translations, 0 for an empty one.
func (t *natTable) add(list []translation) (uint16, error) {
	if len(list) == 0 {
		return 0, nil
	}
	for i, e := range list[1:] {
		if before := list[i]; before.number(0) == e.number(0) {
			return 0, fmt.Errorf("protocol %d: target port %d stands for ports %d and %d",
				protocols[e.proto], e.port, before.to, e.to)
		}
	}
	text := fmt.Sprint(list)
	if number, ok := t.numbers[text]; ok {
		return number, nil
	}
	if t.numbers == nil {
		t.numbers = make(map[string]uint16)
	}
	number := uint16(len(t.numbers) + 1)
	if number == 0 {
		return 0, fmt.Errorf("more than %d different sets of translations", len(t.numbers))
	}
	t.numbers[text] = number
	for _, e := range list {
		t.keys = append(t.keys, key{lo: e.number(number), tag: 1})
		t.slots = append(t.slots, slot{value: uint32(networkOrder(e.to))})
	}
	return number, nil
}

// natTable writes the table: one length, of all bits.
func (b *blob) natTable(t *natTable) (prefixes, error) {
	h := prefixes{N6: 1, Masks: b.align(8)}
	b.u64(^uint64(0), ^uint64(0))
	err := b.table(&h, t.keys, t.slots)
	return h, err
}
