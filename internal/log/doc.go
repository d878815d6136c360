// SPDX-License-Identifier: Apache-2.0

// Package log sets up logging by log/slog with a level that can change at run
// time, and leads the NSM SDK's log into it.
//
// The SDK reports every step of every request. That chatter appears at LevelDebug
// and below only; what an operator must know arrives as an error anyway.
package log
