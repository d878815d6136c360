// SPDX-License-Identifier: Apache-2.0

// Package preflight tells in one sentence why this machine cannot run the data
// path, before anything is changed on it.
package preflight
