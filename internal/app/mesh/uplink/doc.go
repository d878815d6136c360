// SPDX-License-Identifier: Apache-2.0

// Package uplink joins an nsmgr with a registry that serves several nodes.
//
// The SDK's nsmgr asks the registry for every request, even one that stays on
// the node, and hangs or fails when it does not answer. Here the nsmgr's own
// memory has everything: what is registered at the nsmgr is published at the
// registry, with the nsmgr's URL in place of the endpoint's, and what the registry
// has from others is mirrored into the memory. A registry that is slow, restarts
// or is gone is noticed by nobody; only news waits for it.
//
// A registry that comes back empty gets everything again. What it does not
// confirm within a while of its return is forgotten.
package uplink
