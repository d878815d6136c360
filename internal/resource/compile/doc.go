// SPDX-License-Identifier: Apache-2.0

// Package compile turns resources into the configuration of the components
// that carry them out.
package compile
