// SPDX-License-Identifier: Apache-2.0

package classify

import (
	"cmp"
	"net/netip"
	"slices"
)

const trieChild = 1 << 31 // the entry is the index (in the blob: offset) of a node

// trie is a multibit trie of IPv4 prefixes, 8 bits to a level. Entries without
// trieChild are classes; class 0 is that of addresses under no prefix.
type trie struct{ nodes [][256]uint32 }

func newTrie(classes map[netip.Prefix]uint32) *trie {
	t := &trie{nodes: make([][256]uint32, 1)}
	keys := make([]netip.Prefix, 0, len(classes))
	for p := range classes {
		keys = append(keys, p)
	}
	// Shorter prefixes first: a longer one then overwrites or splits, and
	// the range of a prefix never holds a child yet.
	slices.SortFunc(keys, func(a, b netip.Prefix) int {
		return cmp.Or(cmp.Compare(a.Bits(), b.Bits()), a.Addr().Compare(b.Addr()))
	})
	for _, p := range keys {
		t.insert(p, classes[p])
	}
	return t
}

func (t *trie) insert(p netip.Prefix, class uint32) {
	addr, node, level := p.Addr().As4(), uint32(0), 0
	for ; p.Bits() > 8*(level+1); level++ {
		e := t.nodes[node][addr[level]]
		if e&trieChild == 0 {
			var child [256]uint32
			for i := range child {
				child[i] = e
			}
			e = trieChild | uint32(len(t.nodes))
			t.nodes = append(t.nodes, child)
			t.nodes[node][addr[level]] = e
		}
		node = e &^ trieChild
	}
	first := int(addr[level])
	for i := range 1 << (8*(level+1) - p.Bits()) {
		t.nodes[node][first+i] = class
	}
}

// write puts the nodes into the blob and returns the offset of the root.
func (t *trie) write(b *blob) uint32 {
	root := b.align(64)
	for i := range t.nodes {
		for _, e := range t.nodes[i] {
			if e&trieChild != 0 {
				e = trieChild | root + 1024*(e&^trieChild)
			}
			b.u32(e)
		}
	}
	return root
}
