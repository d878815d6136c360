// SPDX-License-Identifier: Apache-2.0

// Package service is what the commands that serve until they are told to stop
// have in common: flags, --check, logging, metrics and exit status.
package service
