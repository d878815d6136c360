// SPDX-License-Identifier: Apache-2.0

// Package forwarder runs the forwarder of a node: its data path, its chain on a
// socket, and its registration in the mesh.
package forwarder
