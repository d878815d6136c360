// SPDX-License-Identifier: Apache-2.0

// Package agent wires weft-agent: the workload API and Meridio's Tap API on a
// socket for workloads and one for the administrator, over the reconciler of
// package attachment, over the mesh.
package agent
