// SPDX-License-Identifier: Apache-2.0

// Package ambassadorv1 is Meridio's ambassador.v1.Tap service, wire compatible
// with it (same package, names and field numbers), so that applications
// written for Meridio's ambassador run unchanged on Weft's agent.
package ambassadorv1

//go:generate ../../generate.sh tap.proto
