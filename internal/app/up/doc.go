// SPDX-License-Identifier: Apache-2.0

// Package up runs every component of Weft in one process on one host: NSM's
// registry and nsmgr, the forwarder, the agent, the load-balancer endpoints and
// the daemon that keeps the resources. The components talk to each other by
// the same APIs and sockets as when they run apart.
package up
