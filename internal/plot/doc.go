// SPDX-License-Identifier: Apache-2.0

// Package plot draws line charts as SVG, for the figures of the documentation:
// a few series, linear or logarithmic axes with the ticks they are given, and a
// light background, so that they read in any viewer.
package plot
