// SPDX-License-Identifier: Apache-2.0

// Package tunnel makes and adopts the VXLAN device by which a node's
// cross-connect sends frames to other nodes, and tells how long packets through
// it may be.
package tunnel
