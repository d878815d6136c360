// SPDX-License-Identifier: Apache-2.0

// Package frontendtest has a frontend that talks to nobody, for tests of those
// who use one.
package frontendtest
