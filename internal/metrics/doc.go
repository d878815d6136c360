// SPDX-License-Identifier: Apache-2.0

// Package metrics serves a Prometheus registry over HTTP.
package metrics
