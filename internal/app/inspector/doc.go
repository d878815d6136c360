// SPDX-License-Identifier: Apache-2.0

// Package inspector serves weft.balancer.v1, which shows what the load-balancer
// replicas of a process do, on an administrator's socket.
package inspector
