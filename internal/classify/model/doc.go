// SPDX-License-Identifier: Apache-2.0

// Package model is what the lb program should do, written as plainly as
// possible: rules are tried one by one, and a checksum is updated from all that
// differs between two copies of a packet. Tests hold the program and its
// compiler against it; it shares no code with either.
package model
