// SPDX-License-Identifier: Apache-2.0

package bfd

import "fmt"

// State of a session (RFC 5880, 4.1).
type State uint8

// The states, by their numbers in packets.
const (
	AdminDown State = iota
	Down
	Init
	Up
)

func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("state %d", uint8(s))
}

var stateNames = [...]string{"admin-down", "down", "init", "up"}

// Diagnostic is why a session left Up last.
type Diagnostic uint8

// The diagnostics, by their numbers in packets.
const (
	NoDiagnostic Diagnostic = iota
	DetectionTimeExpired
	EchoFailed
	NeighborSignaledDown
	ForwardingPlaneReset
	PathDown
	ConcatenatedPathDown
	AdministrativelyDown
	ReverseConcatenatedPathDown
)

func (d Diagnostic) String() string {
	if int(d) < len(diagnosticNames) {
		return diagnosticNames[d]
	}
	return fmt.Sprintf("diagnostic %d", uint8(d))
}

var diagnosticNames = [...]string{
	"none", "detection time expired", "echo failed", "neighbor signaled down",
	"forwarding plane reset", "path down", "concatenated path down",
	"administratively down", "reverse concatenated path down",
}
