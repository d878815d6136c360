// SPDX-License-Identifier: Apache-2.0

// Package inspect shows what a load-balancer replica does to packets: it traces
// single frames, observes live decisions and reads what was counted, with the
// names that the configuration gives to numbers of the data plane.
//
// A trace has two halves that share nothing. The program decides about the
// frame as it is loaded, on the live maps. The explanation is computed here, in
// Go, from the rules in force; it names what the program has no words for, such
// as the flows that did not match. Where the halves contradict each other the
// trace says so: either has a bug.
package inspect
