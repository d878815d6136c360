// SPDX-License-Identifier: Apache-2.0

package classify

import (
	"cmp"
	"slices"
)

// layout places rules at bit positions. Rules that share a VIP keep their order
// of precedence; others are independent of each other, so that the rules of a
// VIP can stand close together.
type layout struct {
	position []int // by rule
	words    int
}

// arrange packs the groups of rules: one with more than 64 begins a word of its
// own, a smaller one never crosses the border of two words.
func arrange(rules []Rule, groups [][]int) layout {
	for _, g := range groups {
		slices.SortFunc(g, func(a, b int) int { return precede(&rules[a], &rules[b]) })
	}
	slices.SortFunc(groups, func(a, b []int) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), precede(&rules[a[0]], &rules[b[0]]))
	})
	l := layout{position: make([]int, len(rules))}
	var free [65][]int // words by the number of bits left
	for _, g := range groups {
		word := -1
		left := 64
		for n := len(g); n <= 64; n++ {
			if k := len(free[n]); k > 0 {
				word, left, free[n] = free[n][k-1], n, free[n][:k-1]
				break
			}
		}
		if word < 0 {
			word = l.words
			l.words += (len(g) + 63) / 64
		}
		for i, r := range g {
			l.position[r] = word*64 + 64 - left + i
		}
		last := (64 - left + len(g) - 1) / 64
		if rest := 64*(last+1) - (64 - left + len(g)); rest > 0 {
			free[rest] = append(free[rest], word+last)
		}
	}
	return l
}

// precede orders rules: highest priority first, then by name.
func precede(a, b *Rule) int {
	return cmp.Or(cmp.Compare(b.Priority, a.Priority), cmp.Compare(a.Name, b.Name))
}

// groups returns the connected components of rules that share a list.
func groups(n int, lists [][]int) [][]int {
	parent := make([]int, n)
	for i := range parent {
		parent[i] = i
	}
	find := func(i int) int {
		for parent[i] != i {
			parent[i] = parent[parent[i]]
			i = parent[i]
		}
		return i
	}
	for _, list := range lists {
		for _, r := range list {
			parent[find(r)] = find(list[0])
		}
	}
	byRoot := make(map[int][]int)
	for i := range parent {
		root := find(i)
		byRoot[root] = append(byRoot[root], i)
	}
	out := make([][]int, 0, len(byRoot))
	for i := range parent {
		if g := byRoot[i]; g != nil {
			out = append(out, g)
		}
	}
	return out
}
