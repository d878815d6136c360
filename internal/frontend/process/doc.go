// SPDX-License-Identifier: Apache-2.0

// Package process runs a frontend in a process of its own, in the replica's
// namespace.
package process
