// SPDX-License-Identifier: Apache-2.0

// Package nselabel lets chain elements know the labels that an endpoint has
// registered for a connection's network service.
//
// # Does
//
// The SDK's discover element keeps no more than the endpoint's URL. [Record] wraps
// its registry client and notes the labels of what it finds; [Of] returns those of
// the connection's endpoint.
//
// # Placement
//
// [Record] is the client of discover, behind metadata. [Of] is for the elements
// behind discover and in the client chain.
//
// # Reads
//
// NetworkServiceLabels of the endpoints.
//
// # Writes
//
// The connection's metadata.
//
// # On Close
//
// Nothing.
//
// # Metrics
//
// None.
package nselabel
