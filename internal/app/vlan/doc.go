// SPDX-License-Identifier: Apache-2.0

// Package vlan runs the endpoint of an attractor's VLAN: it serves the network
// service by which frontends get an interface in the VLAN, from the forwarder of
// their node, and an address of the attractor's prefixes, from the endpoint.
//
// One endpoint serves all frontends of an attractor, on whatever nodes they are, so
// that addresses are unique without anybody else's help. No packet goes through it:
// what it has given works on while it is away, until the connections expire.
package vlan
