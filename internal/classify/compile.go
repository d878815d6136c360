// SPDX-License-Identifier: Apache-2.0

package classify

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// protocols in the order of their index in the program.
var protocols = [...]uint8{TCP, UDP, SCTP}

// compiler holds what the steps of one compilation share.
type compiler struct {
	set   Set
	at    layout
	sums  int // summary words of a row
	blob  blob
	head  header
	match []uint32 // by rule: offset of its byte matches
}

// Compile validates the set and returns its blob. Equal sets give equal blobs,
// in whatever order their rules and addresses are listed.
func Compile(set Set) ([]byte, error) {
	if err := set.Validate(); err != nil {
		return nil, err
	}
	c := &compiler{set: set}
	c.set.Rules = slices.Clone(set.Rules)
	slices.SortFunc(c.set.Rules, func(a, b Rule) int { return precede(&a, &b) })
	vips := c.vips()
	c.arrange(vips)
	c.blob.grow(HeaderSize)
	c.matches()
	c.rules()
	for _, step := range []func() error{
		func() error { return c.vipTable(vips) },
		c.sources, c.sourcePorts, c.destinationPorts, c.protocols,
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	if len(c.blob.buf) > MaxSize {
		return nil, fmt.Errorf("rules need %d bytes: at most %d", len(c.blob.buf), MaxSize)
	}
	copy(c.head.MAC[:], set.MAC)
	c.head.MTU = set.MTU
	if set.MSSClamp {
		c.head.Options |= optionMSSClamp
	}
	if err := c.blob.setHeader(&c.head); err != nil {
		return nil, err
	}
	return c.blob.buf, nil
}

// vip is what matters at a prefix that ends a lookup.
type vip struct {
	rules []int
	nats  map[natKey]uint16 // from the port to the target's
}

// vips returns what matters at every prefix that ends a lookup: its own and what
// the prefixes around it have.
func (c *compiler) vips() map[netip.Prefix]vip {
	set := make(map[netip.Prefix]bool) // true: listed as VIP
	own := make(map[netip.Prefix][]int)
	for i, r := range c.set.Rules {
		for _, p := range r.VIPs {
			set[p] = false
			own[p] = append(own[p], i)
		}
	}
	nats := make(map[netip.Prefix]map[natKey]uint16)
	for _, n := range c.set.NATs {
		set[n.VIP] = false
		if nats[n.VIP] == nil {
			nats[n.VIP] = make(map[natKey]uint16)
		}
		nats[n.VIP][n.key()] = n.TargetPort
	}
	for _, p := range c.set.VIPs {
		set[p] = true
	}
	list := nest(set)
	all := make([]vip, len(list))
	out := make(map[netip.Prefix]vip)
	for i, p := range list {
		all[i] = vip{own[p.Prefix], nats[p.Prefix]}
		if p.parent >= 0 {
			around := all[p.parent]
			all[i].rules = append(slices.Clone(all[i].rules), around.rules...)
			all[i].nats = maps.Clone(around.nats)
			if all[i].nats == nil {
				all[i].nats = make(map[natKey]uint16)
			}
			maps.Copy(all[i].nats, nats[p.Prefix])
			set[p.Prefix] = set[p.Prefix] || set[list[p.parent].Prefix]
		}
		slices.Sort(all[i].rules)
		all[i].rules = slices.Compact(all[i].rules)
		if set[p.Prefix] {
			out[p.Prefix] = all[i]
		}
	}
	return out
}

func (c *compiler) arrange(vips map[netip.Prefix]vip) {
	lists := make([][]int, 0, len(vips))
	for _, v := range vips {
		lists = append(lists, v.rules)
	}
	c.at = arrange(c.set.Rules, groups(len(c.set.Rules), lists))
	c.sums = (c.at.words + 63) / 64
	c.head.RowSums = uint32(8 * c.sums)
	c.head.RowBytes = uint32(8 * (c.sums + c.at.words))
}

func (c *compiler) row() bitset { return make(bitset, c.at.words) }

func (c *compiler) matches() {
	c.match = make([]uint32, len(c.set.Rules))
	c.blob.align(8)
	for i, r := range c.set.Rules {
		for k, m := range r.ByteMatches {
			if k == 0 {
				c.match[i] = uint32(len(c.blob.buf))
			}
			last := uint8(0)
			if k == len(r.ByteMatches)-1 {
				last = 1
			}
			proto := uint8(slices.Index(protocols[:], m.Protocol))
			c.blob.u32(raw(m.mask(), m.Width), raw(m.Value, m.Width))
			c.blob.buf = append(c.blob.buf, proto, m.Offset, m.Width, last)
		}
	}
}

// raw is the value as the program sees it when it loads width bytes of network
// order into a zeroed little-endian word.
func raw(v uint32, width uint8) uint32 {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], v<<(8*(4-width)))
	return binary.LittleEndian.Uint32(b[:])
}

func (c *compiler) rules() {
	table := make([]uint32, ruleSize/4*64*c.at.words)
	for i, r := range c.set.Rules {
		at := table[ruleSize/4*c.at.position[i]:]
		at[0], at[1], at[2], at[3] = r.Stream, c.match[i], r.Flow, uint32(networkOrder(r.TargetPort))
	}
	c.head.Rules = c.blob.align(64)
	c.blob.u32(table...)
}

func (c *compiler) vipTable(vips map[netip.Prefix]vip) error {
	slots := make(map[netip.Prefix]slot, len(vips))
	var nats natTable
	keys := slices.SortedFunc(maps.Keys(vips), comparePrefix)
	for _, p := range keys {
		number, err := nats.add(c.translations(vips[p]))
		if err != nil {
			return fmt.Errorf("VIP %s: %w", p, err)
		}
		slots[p] = c.vipWords(vips[p].rules)
		s := slots[p]
		s.nat = number
		slots[p] = s
	}
	var err error
	if c.head.VIPs, err = c.blob.prefixTable(slots); err != nil {
		return fmt.Errorf("VIPs: %w", err)
	}
	if c.head.NATs, err = c.blob.natTable(&nats); err != nil {
		return fmt.Errorf("NATs: %w", err)
	}
	return nil
}

// vipWords writes the words that hold the rules of one VIP, after the summary
// words of the same range and before the list of the rules' streams.
func (c *compiler) vipWords(rules []int) slot {
	if len(rules) == 0 {
		return slot{}
	}
	row := c.row()
	first, last := c.at.words, 0
	streams := make([]uint32, 0, len(rules))
	for _, r := range rules {
		at := c.at.position[r]
		row.set(at)
		first, last = min(first, at/64), max(last, at/64)
		streams = append(streams, c.set.Rules[r].Stream)
	}
	c.blob.align(8)
	c.blob.u64(row.summary()[first/64 : last/64+1]...)
	s := slot{value: uint32(len(c.blob.buf)), first: uint32(first), count: uint32(last - first + 1)}
	c.blob.u64(row[first : last+1]...)
	slices.Sort(streams)
	streams = slices.Compact(streams)
	c.blob.u32(uint32(len(streams)))
	c.blob.u32(streams...)
	return s
}

func (c *compiler) sources() error {
	set := make(map[netip.Prefix]bool)
	own := make(map[netip.Prefix][]int)
	all := c.row()
	for i, r := range c.set.Rules {
		if len(r.Sources) == 0 {
			all.set(c.at.position[i])
		}
		for _, p := range r.Sources {
			set[p] = true
			own[p] = append(own[p], c.at.position[i])
		}
	}
	var r rows
	r.add(all) // class 0: under no prefix
	list := nest(set)
	around := make([]bitset, len(list))
	v4, v6 := make(map[netip.Prefix]uint32), make(map[netip.Prefix]slot)
	for i, p := range list {
		row := append(bitset(nil), all...)
		if p.parent >= 0 {
			copy(row, around[p.parent])
		}
		for _, at := range own[p.Prefix] {
			row.set(at)
		}
		around[i] = row
		if class := r.add(row); p.Addr().Is4() {
			v4[p.Prefix] = class
		} else {
			v6[p.Prefix] = slot{value: class}
		}
	}
	if len(set) > 0 {
		c.head.Fields |= fieldSource
	}
	c.head.SourceTrie = newTrie(v4).write(&c.blob)
	c.head.SourceRows = c.blob.rows(r.list)
	h, err := c.blob.prefixTable(v6)
	c.head.Sources6 = h
	if err != nil {
		return fmt.Errorf("sources: %w", err)
	}
	return nil
}

func (c *compiler) sourcePorts() (err error) {
	get := func(r *Rule) []PortRange { return r.SourcePorts }
	c.head.SourcePortTable, c.head.SourcePortRows, err = c.ports(fieldSourcePort, get)
	return err
}

func (c *compiler) destinationPorts() (err error) {
	get := func(r *Rule) []PortRange { return r.DestinationPorts }
	c.head.DestinationPortTable, c.head.DestinationPortRows, err = c.ports(fieldDestinationPort, get)
	return err
}

func (c *compiler) ports(field uint32, get func(*Rule) []PortRange) (table, at uint32, err error) {
	ranges := make(map[int][]PortRange)
	all := c.row()
	for i := range c.set.Rules {
		if list := get(&c.set.Rules[i]); len(list) > 0 {
			ranges[c.at.position[i]] = list
		} else {
			all.set(c.at.position[i])
		}
	}
	if len(ranges) == 0 {
		return 0, c.blob.rows([]bitset{all}), nil
	}
	var r rows
	classes, err := portClasses(ranges, all, &r)
	if err != nil {
		return 0, 0, err
	}
	c.head.Fields |= field
	return c.blob.portTable(classes), c.blob.rows(r.list), nil
}

func (c *compiler) protocols() error {
	list := make([]bitset, len(protocols))
	for k, proto := range protocols {
		list[k] = c.row()
		for i, r := range c.set.Rules {
			if len(r.Protocols) == 0 || slices.Contains(r.Protocols, proto) {
				list[k].set(c.at.position[i])
			}
		}
	}
	c.head.ProtocolRows = c.blob.rows(list)
	return nil
}
