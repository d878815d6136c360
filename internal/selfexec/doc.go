// SPDX-License-Identifier: Apache-2.0

// Package selfexec runs this program once more as a process of its own in a
// network namespace, which may outlive the one that has started it and is found
// again by the unix socket that it serves.
package selfexec
