// SPDX-License-Identifier: Apache-2.0

// Package daemon serves the administrator's API (weft.daemon.v1.Daemon) over a
// resource.Store.
package daemon
