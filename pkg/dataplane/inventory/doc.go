// SPDX-License-Identifier: Apache-2.0

// Package inventory lists the BPF objects of the machine by the names that
// Weft gives them, for leak checks.
package inventory
