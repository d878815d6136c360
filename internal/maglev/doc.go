// SPDX-License-Identifier: Apache-2.0

// Package maglev builds Maglev lookup tables: Eisenbud et al., "Maglev: A Fast
// and Reliable Software Network Load Balancer", NSDI 2016, section 3.4.
//
// A table has a prime number of slots. Every backend owns a permutation of the
// slots; the backends take turns, each filling the first slot of its
// permutation that is still free, until the table is full. So every backend
// gets the same number of slots, give or take one, and when a backend leaves,
// few slots beyond its own change hands: 0.6 % of the surviving ones when the
// size is at least 650 times the number of backends. (The 1 % of the paper at
// 100 times is the imbalance of shares, not the disruption.)
//
// Weights scale how often a backend's turn comes, and so its share. The slots
// that change hands when one leaves or gets another weight stay few, because the
// order of the others' turns stays.
//
// A table is a pure function of the set of names with their weights:
// permutations are derived from the SHA-256 of the name, turns are taken in the
// order of the names, and the order in which backends came does not enter.
// Balancers that know the same backends therefore have the same tables without
// talking to each other. Two names whose permutations coincide are no special
// case: the one that sorts first takes its turn first.
package maglev
