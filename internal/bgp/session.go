// SPDX-License-Identifier: Apache-2.0

package bgp

import (
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// staleLimit is how long a gateway that is back may take to announce everything
// again.
const staleLimit = 60 * time.Second

// toldFor is how long an error that was put in words outlives those of
// connections that merely end.
const toldFor = 2 * retryMax

// begin sends our OPEN.
func (p *peer) begin(c *conn) {
	p.conns = append(p.conns, c)
	p.readers.Go(func() { c.write(p.events) })
	p.readers.Go(func() { c.read(p.events) })
	open, err := p.have.openMessage(time.Now())
	if err == nil {
		err = c.send(open)
	}
	if err != nil {
		p.close(c, nil, "make our OPEN: "+err.Error(), false)
	}
}

// say sends a message that can be made for sure.
func (p *peer) say(c *conn, message *bgp.BGPMessage) {
	if err := c.send(message); err != nil {
		p.log.Error("message to the gateway can not be made", "type", message.Header.Type, "error", err)
	}
}

// remove drops the connection, after the message if it is not nil.
func (p *peer) remove(c *conn, message *bgp.BGPMessage) {
	p.conns = slices.DeleteFunc(p.conns, func(x *conn) bool { return x == c })
	c.drop(message)
}

// close ends the connection for a reason. With keep, the gateway's routes are
// kept if it may be restarting gracefully.
func (p *peer) close(c *conn, message *bgp.BGPMessage, why string, keep bool) {
	p.remove(c, message)
	if why != "" {
		p.note(why)
	}
	if c.state != Established {
		p.refusals = min(p.refusals+1, maxRefusals)
		p.later(retryMin)
		return
	}
	p.later(retryFirst)
	p.endOfRIB = false
	p.mu.Lock()
	defer p.mu.Unlock()
	p.report.Flaps++
	clear(p.sent)
	keep = keep && p.have.graceful > 0 && c.open.graceful && c.open.keeps != [2]bool{} && p.want.Disabled == ""
	if !keep {
		p.rib, p.staleUntil = newRIB(), time.Time{}
		p.log.Info("session with the gateway ended", "reason", why)
		return
	}
	p.rib.keepStale(c.open.keeps)
	p.staleUntil = time.Now().Add(c.open.restartTime)
	p.log.Info("session with the gateway ended; its routes are kept", "reason", why, "for", c.open.restartTime)
}

// note stores what there is to say of a session that is down.
func (p *peer) note(why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.report.LastError != why {
		p.report.LastError = why
		p.log.Info("no session with the gateway", "reason", why)
	}
}

// expire ends a connection on which nothing has come for too long.
func (p *peer) expire(c *conn) {
	why := sprintf("nothing heard from the gateway for the hold time of %v", c.hold)
	if c.state == OpenSent {
		why = sprintf("the gateway accepts the TCP connection and says nothing for %v", openLimit)
	}
	if hint := readCounters().since(c.before).explain(p.have.Peer); hint != "" && c.state != Established {
		why += "; " + hint
	}
	p.close(c, bgp.NewBGPNotificationMessage(bgp.BGP_ERROR_HOLD_TIMER_EXPIRED, 0, nil), why, false)
}

func (p *peer) handle(e event) {
	c := e.conn
	if !slices.Contains(p.conns, c) {
		return // dropped meanwhile
	}
	if e.err != nil {
		p.failed(c, e.err)
		return
	}
	if c.state == Established && c.hold > 0 {
		c.deadline = time.Now().Add(c.hold)
	}
	switch body := e.message.Body.(type) {
	case *bgp.BGPOpen:
		if c.state == OpenSent {
			p.opened(c, body)
			return
		}
	case *bgp.BGPKeepAlive:
		if c.state == OpenConfirm {
			p.establish(c)
			return
		}
		if c.state == Established {
			return
		}
	case *bgp.BGPUpdate:
		if c.state == Established {
			p.update(c, body, e.malformed)
			return
		}
	case *bgp.BGPRouteRefresh:
		if c.state == Established {
			p.refresh(c, body)
			return
		}
	case *bgp.BGPNotification:
		p.notified(c, body)
		return
	}
	p.close(c, bgp.NewBGPNotificationMessage(bgp.BGP_ERROR_FSM_ERROR, fsmSubcode(c.state), nil),
		sprintf("the gateway sent a message of type %d in state %s", e.message.Header.Type, c.state), false)
}

// fsmSubcode is that of RFC 6608.
func fsmSubcode(s State) uint8 {
	return map[State]uint8{OpenSent: 1, OpenConfirm: 2, Established: 3}[s]
}

func (p *peer) notified(c *conn, n *bgp.BGPNotification) {
	if isCollision(n) && c.state != Established {
		p.remove(c, nil) // the other connection goes on
		p.later(retryMin)
		return
	}
	p.close(c, nil, p.have.explain(n), false)
	p.told = time.Now()
}

// failed ends a connection that can not be read or written, or has brought what
// is no BGP.
func (p *peer) failed(c *conn, err error) {
	var malformed *bgp.MessageError
	if errors.As(err, &malformed) {
		p.close(c, bgp.NewBGPNotificationMessage(malformed.TypeCode, malformed.SubTypeCode, malformed.Data),
			"the gateway sent a malformed message: "+malformed.Error(), false)
		return
	}
	if c.state != Established && len(p.conns) > 1 {
		p.remove(c, nil) // the other connection goes on
		return
	}
	why := err.Error()
	switch {
	case c.state == Established:
	case time.Since(p.told) < toldFor:
		why = "" // what was said on another connection tells more
	default:
		why += " before the session stood; it may not know us, or be another kind of server"
	}
	p.close(c, nil, why, true)
}

// opened looks at the gateway's OPEN.
func (p *peer) opened(c *conn, open *bgp.BGPOpen) {
	remote := readOpen(open)
	if refusal, why := p.have.refuse(open.Version, remote); refusal != nil {
		p.close(c, refusal, why, false)
		p.told = time.Now()
		return
	}
	c.open = remote
	for _, other := range slices.Clone(p.conns) {
		switch {
		case other == c:
		case other.state == Established && p.have.graceful > 0 && other.open.graceful && remote.graceful:
			// The gateway has lost the old connection and has not said so
			// (RFC 4724, 4.2).
			p.close(other, nil, "the gateway has restarted", true)
		case other.state == Established || other.state == OpenConfirm && p.have.dominates(remote) == other.outgoing:
			p.remove(c, cease(collision))
			return
		case other.state == OpenConfirm:
			p.remove(other, cease(collision))
		}
	}
	c.state = OpenConfirm
	c.hold = min(p.have.HoldTime, remote.hold)
	c.deadline, c.alive = time.Time{}, time.Time{}
	if c.hold > 0 {
		c.deadline, c.alive = time.Now().Add(c.hold), time.Now().Add(c.hold/3)
	}
	p.say(c, bgp.NewBGPKeepAliveMessage())
}

// establish begins the session on the connection.
func (p *peer) establish(c *conn) {
	p.stopDial()
	for _, other := range slices.Clone(p.conns) {
		if other != c {
			p.remove(other, cease(collision))
		}
	}
	c.state = Established
	p.refusals, p.endOfRIB = 0, false
	p.mu.Lock()
	clear(p.sent)
	if !p.staleUntil.IsZero() {
		for i, forwards := range c.open.forwards {
			if !forwards || !c.open.keeps[i] {
				p.rib.removeStale(i == 1)
			}
		}
		p.staleUntil = time.Now().Add(max(staleLimit, c.open.restartTime))
	}
	p.mu.Unlock()
	p.log.Info("session with the gateway is established", "hold", c.hold, "router id", c.open.id)
	p.announce(c)
}

// publish stores what the loop knows, for Status. With quiet, nothing but the
// state can have changed.
func (p *peer) publish(quiet bool) {
	state, hold, graceful := Active, time.Duration(0), false
	switch {
	case p.have.Disabled != "":
		state = Idle
	case p.dialing:
		state = Connect
	}
	rank := map[State]int{OpenSent: 1, OpenConfirm: 2, Established: 3}
	best := 0
	for _, c := range p.conns {
		if rank[c.state] > best {
			best, state = rank[c.state], c.state
		}
		if c.state == Established {
			hold, graceful = c.hold, p.have.graceful > 0 && c.open.graceful
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.report.State != state {
		p.report.State, p.report.Since = state, time.Now()
		quiet = false
	}
	p.report.Address = p.have.Address
	p.report.HoldTime, p.report.Keepalive, p.report.GracefulRestart = hold, hold/3, graceful
	p.report.Stale = p.staleUntil
	if !quiet {
		p.speaker.poke()
	}
}

func (p *peer) status() PeerStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	status := p.report
	if p.want.Disabled != "" {
		status.LastError = p.want.Disabled
	}
	status.Announced = slices.SortedFunc(maps.Keys(p.sent), comparePrefix)
	status.Received = len(p.rib.entries) + p.rib.overflow
	status.Refused, status.Refusal = p.rib.refusals(p.want.MaxPrefixes)
	return status
}

func (p *peer) routes(all []Route) []Route {
	p.mu.Lock()
	defer p.mu.Unlock()
	for prefix, l := range p.rib.entries {
		if l.taken() {
			all = append(all, Route{Prefix: prefix, NextHop: l.nextHop, Peer: p.want.Name})
		}
	}
	return all
}
