// SPDX-License-Identifier: Apache-2.0

// Package inspecttest has a load-balancer replica in memory, for tests of what
// traces, observes and counts.
package inspecttest
