// SPDX-License-Identifier: Apache-2.0

// Package cli holds what all commands of weft share: the environment they run
// in, output formats, tables, colour, and how errors are told.
package cli
