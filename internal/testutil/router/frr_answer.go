// SPDX-License-Identifier: Apache-2.0

package router

import (
	"net/netip"
	"time"
)

// FRRSession is a BFD session as FRR sees it. The intervals are milliseconds.
type FRRSession struct {
	Peer             netip.Addr `json:"peer"`
	Local            string     `json:"local"`
	Interface        string     `json:"interface"`
	Multihop         bool       `json:"multihop"`
	Status           string     `json:"status"` // up, down, init, shutdown
	Uptime           int        `json:"uptime"` // seconds
	Diagnostic       string     `json:"diagnostic"`
	RemoteDiagnostic string     `json:"remote-diagnostic"`
	ReceiveInterval  int        `json:"receive-interval"`
	TransmitInterval int        `json:"transmit-interval"`
	Multiplier       int        `json:"detect-multiplier"`
	RemoteReceive    int        `json:"remote-receive-interval"`
	RemoteTransmit   int        `json:"remote-transmit-interval"`
	RemoteMultiplier int        `json:"remote-detect-multiplier"`
	ControlIn        uint64     `json:"-"`
	ControlOut       uint64     `json:"-"`
	Ups              uint64     `json:"-"`
	Downs            uint64     `json:"-"` // how often it went down
}

// BFD are all sessions with their counters.
func (f *FRR) BFD() []FRRSession {
	f.t.Helper()
	var sessions []FRRSession
	f.JSON("show bfd peers json", &sessions)
	var counters []struct {
		Peer      netip.Addr `json:"peer"`
		Local     string     `json:"local"`
		Interface string     `json:"interface"`
		In        uint64     `json:"control-packet-input"`
		Out       uint64     `json:"control-packet-output"`
		Up        uint64     `json:"session-up"`
		Down      uint64     `json:"session-down"`
	}
	f.JSON("show bfd peers counters json", &counters)
	for i := range sessions {
		s := &sessions[i]
		for _, c := range counters {
			if c.Peer == s.Peer && c.Local == s.Local && c.Interface == s.Interface {
				s.ControlIn, s.ControlOut, s.Ups, s.Downs = c.In, c.Out, c.Up, c.Down
			}
		}
	}
	return sessions
}

// FRRNeighbor is a BGP session as FRR sees it.
type FRRNeighbor struct {
	State       string `json:"bgpState"` // Idle, Active, ..., Established
	RemoteAS    uint32 `json:"remoteAs"`
	UpMilli     int64  `json:"bgpTimerUpMsec"`
	Established int    `json:"connectionsEstablished"`
	Dropped     int    `json:"connectionsDropped"`
	LastReset   string `json:"lastResetDueTo"`
	LastError   string `json:"lastNotificationReason"`
	HoldMilli   int    `json:"bgpTimerHoldTimeMsecs"`
}

// Uptime is how long the session has been established.
func (n FRRNeighbor) Uptime() time.Duration { return time.Duration(n.UpMilli) * time.Millisecond }

// BGP are the neighbours by their configured addresses or interfaces.
func (f *FRR) BGP() map[string]FRRNeighbor {
	f.t.Helper()
	neighbors := map[string]FRRNeighbor{}
	f.JSON("show bgp neighbors json", &neighbors)
	return neighbors
}

// FRRRoute is a route of zebra's table.
type FRRRoute struct {
	Prefix    netip.Prefix `json:"prefix"`
	Protocol  string       `json:"protocol"` // bgp, static, connected, kernel
	Selected  bool         `json:"selected"`
	Installed bool         `json:"installed"`
	NextHops  []struct {
		IP        string `json:"ip"`
		Interface string `json:"interfaceName"`
		Active    bool   `json:"active"`
	} `json:"nexthops"`
}

// Routes are those of one family, "ip" or "ipv6".
func (f *FRR) Routes(family string) map[string][]FRRRoute {
	f.t.Helper()
	routes := map[string][]FRRRoute{}
	f.JSON("show "+family+" route json", &routes)
	return routes
}
