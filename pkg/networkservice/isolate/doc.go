// SPDX-License-Identifier: Apache-2.0

// Package isolate keeps what the elements of a server chain do to a request
// from the request of those before them.
//
// # Does
//
// Gives the following elements a copy of the request, and the preceding ones a
// copy of the answer. The SDK's begin element remembers the request of a
// connection's first time, and at Close forgets the connection by the id that
// stands in it then. Its updatepath element writes the id of the previous hop
// into the answer. Where both are the same object, begin forgets another id and
// keeps the connection for ever (sdk v1.15.0: about 10 KiB each).
//
// # Placement
//
// Must follow the SDK's begin, must precede every element that may answer with
// the connection of the request; best directly behind the SDK's own elements.
//
// # Reads
//
// The request and the answer.
//
// # Writes
//
// Nothing.
//
// # On Close
//
// Nothing.
//
// # Metrics
//
// None.
package isolate
