// SPDX-License-Identifier: Apache-2.0

// Package control is the commands that run NSM's control plane in processes of
// their own: `weft registry` for several nodes and `weft nsmgr` for one.
package control
