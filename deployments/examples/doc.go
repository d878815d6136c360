// SPDX-License-Identifier: Apache-2.0

// Package examples holds the manifests that the documentation shows and the
// demo applies, so that they cannot drift apart.
package examples
