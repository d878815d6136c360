// SPDX-License-Identifier: Apache-2.0

package examples

import _ "embed"

// Demo defines the networks of `weft demo`: trench-a and trench-b, which use
// the same VIPs and ports.
//
//go:embed demo.yaml
var Demo []byte
