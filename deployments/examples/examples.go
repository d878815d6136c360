// SPDX-License-Identifier: Apache-2.0

// Package examples holds the manifests that the documentation shows and the
// demo applies, so that they cannot drift apart.
package examples

import _ "embed"

// Demo defines the networks of `weft demo`: trench-a and trench-b, which use
// the same VIPs and ports.
//
//go:embed demo.yaml
var Demo []byte
