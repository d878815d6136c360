// SPDX-License-Identifier: Apache-2.0

// Package leg is the chain element that says where an endpoint wants the
// interface of a connection: its leg.
//
// # Does
//
// Names the namespace of the endpoint and an interface in it. The interface's
// name follows from the connection's id, so that a refresh, a heal or a restart
// finds the same one.
//
// # Placement
//
// Must follow trimpath (the connection's id is the endpoint's own by then). Must
// precede whatever reads the mechanism's parameters in the request; in the
// answer they are there for every element.
//
// # Reads
//
// The connection's id, mechanism and mechanism preferences.
//
// # Writes
//
// The mechanism (the first kernel mechanism of the preferences when none is
// chosen yet) and its parameters for interface name and namespace. A request
// without kernel mechanism is InvalidArgument.
//
// # On Close
//
// Nothing.
//
// # Metrics
//
// None.
package leg
