// SPDX-License-Identifier: Apache-2.0

// Package client is the agent's way into the mesh: its NSM client chain, the
// monitoring of its connections and the watch over the endpoints of a network
// service, all over one gRPC connection to the nsmgr.
//
// The chain is shorter than the SDK's. The SDK's refreshes, heals and merges
// requests by itself, from hidden loops: a failed heal is repeated without a
// pause, a lost control plane makes it close connections that carry traffic,
// changed labels are dropped, and what an earlier process has made cannot be
// closed. The agent's reconciler knows what is wanted and does these things
// itself, so the chain only has to carry a request.
package client
