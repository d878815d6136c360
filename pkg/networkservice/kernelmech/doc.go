// SPDX-License-Identifier: Apache-2.0

// Package kernelmech speaks the kernel mechanism for a forwarder, towards the
// client ([NewServer]) and towards the endpoint ([NewClient]).
//
// # Does
//
// NewServer chooses the first kernel mechanism of the client's preferences and
// refuses what no interface could be made from, before anybody else is bothered;
// other mechanisms are left to the next element (tunnelmech). When the next hop is
// on this node, NewClient asks the endpoint for the kernel mechanism, keeps the endpoint's
// choice for the next Request, and gives the client's mechanism back with the
// answer. [Endpoint] tells the elements before it what the endpoint chose.
//
// # Placement
//
// NewServer: before every element that uses the client's mechanism. NewClient:
// before the element that passes descriptors.
//
// # Reads
//
// Mechanism type and the parameters name and inodeURL; the client URL.
//
// # Writes
//
// NewServer: Connection.Mechanism. NewClient: Mechanism and MechanismPreferences
// of the request to the endpoint.
//
// # On Close
//
// NewClient closes with the endpoint's mechanism.
//
// # Metrics
//
// None.
package kernelmech
