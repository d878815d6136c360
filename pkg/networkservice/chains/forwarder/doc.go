// SPDX-License-Identifier: Apache-2.0

// Package forwarder is the chain of the forwarder: the order of its elements and
// nothing else.
package forwarder
