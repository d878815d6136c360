// SPDX-License-Identifier: Apache-2.0

package frontend

import (
	"net/netip"
	"time"
)

// Status is the state of a frontend at one moment.
type Status struct {
	Gateways []GatewayStatus // sorted by name
	// Routes are those in the frontend's table, but for its blackholes; sorted.
	Routes []Route
	// Default4 and Default6 are the next hops that share what no more specific
	// route takes, sorted; Default4 may hold IPv6 addresses (RFC 8950). Empty: such
	// packets are dropped.
	Default4, Default6 []netip.Addr
	// Specific: there are more specific routes than the default ones, to be looked
	// up in Config.Table.
	Specific bool
	// Problem says what concerns no single gateway: an interface that is missing,
	// a port that is taken. "": none.
	Problem string
}

// GatewayStatus is the state of one gateway.
type GatewayStatus struct {
	Name    string
	Address netip.Addr
	// Up: answers may go to it, and what is announced to it is in force.
	Up     bool
	Reason string // why not up
	BGP    *BGPStatus
	BFD    *BFDStatus
}

// BGPStatus is the state of a session.
type BGPStatus struct {
	State     string // idle, connect, active, opensent, openconfirm, established
	Since     time.Time
	LastError string // of the last time it went down, or could not come up
	Flaps     uint64 // how often it was established and went down
	Announced []netip.Prefix
	// Received counts prefixes; Refused those of them that are not installed,
	// and Refusal says why.
	Received, Refused        int
	Refusal                  string
	UpdatesSent, UpdatesSeen uint64
	HoldTime, Keepalive      time.Duration // negotiated
	GracefulRestart          bool          // negotiated
}

// BFDStatus is the state of a session.
type BFDStatus struct {
	State            string // admin-down, down, init, up
	RemoteState      string
	Diagnostic       string // why it went down last, ours
	RemoteDiagnostic string
	Since            time.Time
	Flaps            uint64
	TxInterval       time.Duration // in force
	DetectionTime    time.Duration // in force
	Sent, Received   uint64
	Discarded        uint64 // packets that RFC 5880, 6.8.6 says to discard
	LastError        string
}

// Route is a route in the frontend's table.
type Route struct {
	Prefix   netip.Prefix
	NextHops []netip.Addr // sorted; several share the traffic
	Gateways []string     // names of the gateways that they came from, sorted
}
