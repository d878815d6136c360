// SPDX-License-Identifier: Apache-2.0

// Package weft is the command tree of weft, the command line.
//
// Commands for workloads (attachment, stream) speak weft.agent.v1 to the
// agent's socket. Commands for administrators (apply, delete, get, status)
// speak weft.daemon.v1 to the administrator's socket; with --admin the first
// group uses that one too and sees the attachments of every workload.
package weft
