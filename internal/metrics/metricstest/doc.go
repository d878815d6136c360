// SPDX-License-Identifier: Apache-2.0

// Package metricstest holds collectors against docs/metrics.md, so that neither
// has a metric that the other lacks.
package metricstest
