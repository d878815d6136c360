// SPDX-License-Identifier: Apache-2.0

// Package trunk owns the interfaces of frontends that are in VLANs of a node's
// base interfaces: it makes a veth pair for each, configures the inner end in the
// frontend's namespace, and joins the outer end with the base interface
// (pkg/dataplane/vlan).
//
// An interface is known by its namespace and name. A connection claims it; a
// later connection to the same interface takes it over as it is, so that a
// restarted frontend or forwarder changes nothing on it.
//
// The outer end is down while the base interface has no carrier, so that the
// frontend sees the loss. A base interface that is gone is awaited, by name.
//
// The kernel is the database, as in package stitch: with a pin directory New
// adopts what an earlier process has left, Connect claims it, and what nobody
// claims is collected after a grace period.
package trunk
