// SPDX-License-Identifier: Apache-2.0

package router

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// BIRDSession is a BFD session as BIRD sees it.
type BIRDSession struct {
	Protocol, Interface string
	Address             netip.Addr
	State               string // Down, Init, Up, AdminDown
	// Since varies by microseconds from answer to answer, as do all times that
	// BIRD tells.
	Since             time.Time
	Interval, Timeout time.Duration // of transmission and of detection
}

// BFD are the sessions of all BFD protocols.
func (b *BIRD) BFD() []BIRDSession {
	b.t.Helper()
	return parseBIRDSessions(b.MustQuery("show bfd sessions"))
}

// A protocol's name and a colon precede its sessions.
func parseBIRDSessions(answer string) (sessions []BIRDSession) {
	protocol := ""
	for line := range strings.Lines(answer) {
		fields := strings.Fields(line)
		if len(fields) == 1 {
			protocol = strings.TrimSuffix(fields[0], ":")
			continue
		}
		if len(fields) != 6 {
			continue
		}
		address, err := netip.ParseAddr(fields[0])
		if err != nil {
			continue // the heading
		}
		sessions = append(sessions, BIRDSession{
			Protocol: protocol, Address: address, Interface: fields[1], State: fields[2],
			Since: birdTime(fields[3]), Interval: seconds(fields[4]), Timeout: seconds(fields[5]),
		})
	}
	return sessions
}

// BIRDProtocol is the state of one protocol instance.
type BIRDProtocol struct {
	Name, Proto, Table string
	State              string // up, start, down
	Since              time.Time
	Info               string // of BGP: its state, and the last error
	// Values are the details by their names, such as "Neighbor AS" or
	// "Hold timer"; of several channels, the last one's.
	Values map[string]string
}

// Protocol is the state of the named instance.
func (b *BIRD) Protocol(name string) BIRDProtocol {
	b.t.Helper()
	return parseBIRDProtocol(b.MustQuery("show protocols all " + name))
}

func parseBIRDProtocol(answer string) BIRDProtocol {
	p := BIRDProtocol{Values: map[string]string{}}
	_, answer, _ = strings.Cut(answer, "\n") // the heading
	head, rest, _ := strings.Cut(answer, "\n")
	fields := strings.Fields(head)
	if len(fields) < 5 {
		return p
	}
	p.Name, p.Proto, p.Table, p.State, p.Since = fields[0], fields[1], fields[2], fields[3], birdTime(fields[4])
	p.Info = strings.Join(fields[5:], " ")
	for line := range strings.Lines(rest) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			p.Values[key] = strings.TrimSpace(value)
		}
	}
	return p
}

// BIRDRoute is a route, best or not.
type BIRDRoute struct {
	Prefix   netip.Prefix
	Kind     string // unicast, blackhole, unreachable
	Protocol string
	Since    time.Time
	Best     bool
	NextHops []netip.Addr
}

// Routes are those that "show route" prints with the arguments ("protocol p1",
// "table master6"), by default all.
func (b *BIRD) Routes(args string) []BIRDRoute {
	b.t.Helper()
	return parseBIRDRoutes(b.MustQuery("show route " + args))
}

// A route starts with its prefix, or spaces for the prefix before; its next hops
// follow, each on a line that starts with a tabulator.
func parseBIRDRoutes(answer string) (routes []BIRDRoute) {
	var prefix netip.Prefix
	for line := range strings.Lines(answer) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		if strings.HasPrefix(line, "\t") {
			if hop, err := netip.ParseAddr(fields[1]); err == nil && len(routes) > 0 {
				last := &routes[len(routes)-1]
				last.NextHops = append(last.NextHops, hop)
			}
			continue
		}
		if !strings.HasPrefix(line, " ") {
			var err error
			if prefix, err = netip.ParsePrefix(fields[0]); err != nil {
				continue // a table's name
			}
			fields = fields[1:]
		}
		if len(fields) < 3 {
			continue
		}
		routes = append(routes, BIRDRoute{
			Prefix: prefix, Kind: fields[0], Protocol: strings.TrimPrefix(fields[1], "["),
			Since: birdTime(strings.TrimSuffix(fields[2], "]")), Best: strings.Contains(line, " * "),
		})
	}
	return routes
}

// birdTime and seconds are zero for what is no number.
func birdTime(s string) time.Time {
	if d := seconds(s); d != 0 {
		return time.Unix(0, int64(d))
	}
	return time.Time{}
}

func seconds(s string) time.Duration {
	whole, fraction, _ := strings.Cut(s, ".")
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return 0
	}
	nano, _ := strconv.ParseInt((fraction + "000000000")[:9], 10, 64)
	return time.Duration(n)*time.Second + time.Duration(nano)
}
