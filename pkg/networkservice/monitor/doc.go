// SPDX-License-Identifier: Apache-2.0

// Package monitor tells monitors of connections what concerns them, at the same
// cost however many connections there are. The SDK's server of monitors, which
// every chain has, offers each event to each monitor, and nsmgr, forwarder and
// client keep one for each connection: with 500 connections, that is most of what
// a Request costs. A hub is that server's only monitor, and finds those that wait
// for a connection by its id.
//
// # Does
//
// Serves MonitorConnections as the SDK's server does. A slow monitor holds up
// nobody.
//
// # Placement
//
// Wrap goes around the chain, NewServer behind the SDK's own elements: before a
// client has its answer, the hub knows the connection. The hub asks nobody whether
// a monitor may see a connection: it is for chains that let everybody.
//
// # Reads
//
// The connection as it is returned, the events of the SDK's server.
//
// # Writes
//
// Nothing.
//
// # On Close
//
// Nothing: the SDK's server tells of it.
//
// # Metrics
//
// None.
package monitor
