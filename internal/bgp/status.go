// SPDX-License-Identifier: Apache-2.0

package bgp

import (
	"net/netip"
	"time"
)

// State is that of a session (RFC 4271, 8.2.2).
type State string

// States of a session.
const (
	Idle        State = "idle"    // not to be
	Connect     State = "connect" // a TCP connection is being made
	Active      State = "active"  // waiting for the next attempt, or for the gateway's
	OpenSent    State = "opensent"
	OpenConfirm State = "openconfirm"
	Established State = "established"
)

// PeerStatus is the state of a session at one moment.
type PeerStatus struct {
	Name    string
	Address netip.Addr
	State   State
	Since   time.Time
	// LastError is why it went down last, or could not come up.
	LastError string
	// ListenError is why the gateway can not connect to us; we go on to connect to
	// it. "": it can.
	ListenError string
	Flaps       uint64 // how often it was established and went down
	Announced   []netip.Prefix
	// Received counts the gateway's prefixes; Refused those of them that are not
	// in Routes, and Refusal says why, with an example of each reason.
	Received, Refused        int
	Refusal                  string
	UpdatesSent, UpdatesSeen uint64
	HoldTime, Keepalive      time.Duration // negotiated; 0 unless established
	GracefulRestart          bool          // negotiated
	// Stale: the gateway restarts, and its routes are kept until this time.
	Stale time.Time
}

// Route is one that a gateway announces.
type Route struct {
	Prefix  netip.Prefix
	NextHop netip.Addr // with the interface as zone if it is link-local
	Peer    string
}
