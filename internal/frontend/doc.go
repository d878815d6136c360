// SPDX-License-Identifier: Apache-2.0

// Package frontend attracts the traffic of a replica's VIPs from the gateways
// outside, by BGP or watched by BFD alone, and keeps the routes that its answers
// take.
package frontend
