// SPDX-License-Identifier: Apache-2.0

// Package agentv1 is the workload API: the gRPC service weft.agent.v1.Agent
// that weft-agent serves on a unix socket, and its messages.
package agentv1

//go:generate ../../generate.sh agent.proto
