// SPDX-License-Identifier: Apache-2.0

// Package endpoint is the chain of a load-balancer endpoint: the order of its
// elements and nothing else.
package endpoint
