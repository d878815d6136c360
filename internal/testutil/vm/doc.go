// SPDX-License-Identifier: Apache-2.0

// Package vm runs tests on another kernel: a stock Debian kernel under qemu, with
// the test binary of the calling package as its first process. It is emulated
// (about ten times slower than the machine), so it shows that something works
// there, not how fast.
//
// The kernel comes from Dir, where `test/prepare vm` puts it.
package vm
