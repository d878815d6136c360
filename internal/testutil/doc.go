// SPDX-License-Identifier: Apache-2.0

// Package testutil helps tests that need privileges, network namespaces and
// real traffic, and finds what a test left behind.
package testutil
