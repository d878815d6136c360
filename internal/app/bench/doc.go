// SPDX-License-Identifier: Apache-2.0

// Package bench is `weft bench`: measurements of Weft's parts that anybody can
// repeat, as tables, JSON and plots.
package bench
