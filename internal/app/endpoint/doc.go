// SPDX-License-Identifier: Apache-2.0

// Package endpoint runs a load-balancer endpoint: the data plane on the external
// interface, the balancer, the chain that makes connections targets, and the
// registration in the mesh.
package endpoint
