// SPDX-License-Identifier: Apache-2.0

// Package lbtest builds the surroundings of load balancers for tests: a router
// outside with clients' addresses, and namespaces of replicas behind it.
package lbtest
