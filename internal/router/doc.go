// SPDX-License-Identifier: Apache-2.0

// Package router runs BIRD 2 and FRR, as the package managers of distributions
// install them, in network namespaces and apart from a system's own: as gateways
// of the demo, the benchmarks and the tests.
package router
