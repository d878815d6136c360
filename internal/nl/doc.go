// SPDX-License-Identifier: Apache-2.0

// Package nl speaks rtnetlink: links, addresses, routes, rules, neighbours
// and link events of one network namespace. Its types are plain values with
// net/netip addresses, and its errors can be told apart with errors.Is.
package nl
