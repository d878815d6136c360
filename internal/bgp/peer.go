// SPDX-License-Identifier: Apache-2.0

package bgp

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

const (
	retryFirst  = 100 * time.Millisecond // after a session that was established
	retryMin    = time.Second
	retryMax    = 5 * time.Second // after the gateway has refused again and again
	maxRefusals = 5               // of which each makes it wait a second longer
)

// ending is how a peer ends.
type ending int

const (
	endSilent   ending = iota + 1 // our routes are to stay
	endShutdown                   // we shut down
	endRemoved                    // the gateway is no longer configured
)

// peer keeps the session with one gateway. What is behind mu is shared; the rest
// belongs to the goroutine that runs it.
type peer struct {
	speaker *Speaker
	log     *slog.Logger

	wake     chan struct{} // capacity 1: want or how has changed
	accepted chan net.Conn
	events   chan event
	dialed   chan dialResult
	quit     chan struct{} // closed when it ends

	mu     sync.Mutex
	want   target
	how    ending
	report PeerStatus
	sent   map[netip.Prefix]hops // what the gateway has of us
	rib    rib

	have       target  // what the session was begun with, or the last Set
	conns      []*conn // at most one each way
	cancel     context.CancelFunc
	dialing    bool
	nextDial   time.Time
	refusals   int
	told       time.Time // when the gateway or we said what is wrong
	endOfRIB   bool      // sent
	staleUntil time.Time // zero = nothing is stale
	readers    sync.WaitGroup
}

type dialResult struct {
	conn net.Conn
	err  error
}

func newPeer(s *Speaker, want target) *peer {
	p := &peer{
		speaker: s, log: s.log.With("gateway", want.Name, "address", want.Address),
		wake: make(chan struct{}, 1), accepted: make(chan net.Conn), events: make(chan event),
		dialed: make(chan dialResult), quit: make(chan struct{}),
		want: want, have: want, sent: map[netip.Prefix]hops{}, rib: newRIB(),
	}
	p.report = PeerStatus{Name: want.Name, Address: want.Address, State: Active, Since: time.Now()}
	return p
}

// set tells the loop what is wanted now. The routes of a gateway that is disabled
// are gone when it returns.
func (p *peer) set(want target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	own := !slices.Equal(p.want.announce, want.announce)
	p.want = want
	switch {
	case want.Disabled != "":
		p.rib = newRIB()
	case own:
		p.rib.judge(want.announce, want.MaxPrefixes)
	default:
		p.rib.settle(want.MaxPrefixes)
	}
	p.signal()
}

func (p *peer) end(how ending) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.how == 0 {
		p.how = how
		p.signal()
	}
}

func (p *peer) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *peer) wanted() target {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.want
}

// accept takes a connection that the gateway has made.
func (p *peer) accept(c net.Conn) {
	select {
	case p.accepted <- c:
	case <-p.quit:
		_ = c.Close()
	}
}

// run is the loop; it returns when the peer has ended.
func (p *peer) run() {
	defer p.readers.Wait()
	defer close(p.quit)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		quiet := false
		select {
		case <-p.wake:
			if how := p.ended(); how != 0 {
				p.finish(how)
				return
			}
			p.reconcile()
		case c := <-p.accepted:
			p.incoming(c)
		case result := <-p.dialed:
			p.outgoing(result)
		case e := <-p.events:
			quiet = e.keepalive()
			p.handle(e)
		case <-timer.C:
			quiet = true
			p.tick(time.Now())
		}
		p.publish(quiet)
		timer.Reset(time.Until(p.next()))
	}
}

func (p *peer) ended() ending {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.how
}

func (p *peer) finish(how ending) {
	p.stopDial()
	for _, c := range slices.Clone(p.conns) {
		switch how {
		case endSilent:
			p.remove(c, nil)
		case endShutdown:
			p.remove(c, cease(bgp.BGP_ERROR_SUB_ADMINISTRATIVE_SHUTDOWN))
		case endRemoved:
			p.remove(c, cease(bgp.BGP_ERROR_SUB_PEER_DECONFIGURED))
		}
	}
}

// reconcile makes the session what is wanted.
func (p *peer) reconcile() {
	want, have := p.wanted(), p.have
	p.have = want
	switch {
	case want.Disabled != "":
		p.closeAll(cease(bgp.BGP_ERROR_SUB_ADMINISTRATIVE_SHUTDOWN), want.Disabled)
		p.forget()
		p.note(want.Disabled)
	case !want.sameSession(have):
		p.closeAll(cease(bgp.BGP_ERROR_SUB_OTHER_CONFIGURATION_CHANGE), "its configuration has changed")
		p.forget()
		p.refusals, p.nextDial, p.told = 0, time.Now(), time.Time{}
	case have.Disabled != "":
		p.refusals, p.nextDial = 0, time.Now()
	}
	if c := p.established(); c != nil {
		p.announce(c)
	}
	p.tick(time.Now())
}

// closeAll ends what there is of a session, after the message.
func (p *peer) closeAll(message *bgp.BGPMessage, why string) {
	p.stopDial()
	for _, c := range slices.Clone(p.conns) {
		p.close(c, message, why, false)
	}
}

// forget drops the gateway's routes, stale ones too.
func (p *peer) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rib = newRIB()
	p.staleUntil = time.Time{}
}

// next is when tick has something to do.
func (p *peer) next() time.Time {
	next := time.Now().Add(time.Hour)
	earlier := func(t time.Time) {
		if !t.IsZero() && t.Before(next) {
			next = t
		}
	}
	for _, c := range p.conns {
		earlier(c.deadline)
		earlier(c.alive)
	}
	if p.mayDial() {
		earlier(p.nextDial)
	}
	earlier(p.staleUntil)
	return next
}

// tick does what is due.
func (p *peer) tick(now time.Time) {
	for _, c := range slices.Clone(p.conns) {
		switch {
		case !c.deadline.IsZero() && !now.Before(c.deadline):
			p.expire(c)
		case !c.alive.IsZero() && !now.Before(c.alive):
			c.alive = now.Add(c.hold / 3)
			p.say(c, bgp.NewBGPKeepAliveMessage())
		}
	}
	if !p.staleUntil.IsZero() && !now.Before(p.staleUntil) {
		p.mu.Lock()
		p.rib.removeStale(false)
		p.rib.removeStale(true)
		p.rib.settle(p.want.MaxPrefixes)
		p.mu.Unlock()
		p.staleUntil = time.Time{}
		p.speaker.poke()
		p.log.Info("the gateway's routes from before it restarted are removed")
	}
	if p.mayDial() && !now.Before(p.nextDial) {
		p.startDial()
	}
}

// mayDial says that a connection to the gateway is to be made, now or later.
func (p *peer) mayDial() bool {
	return p.have.Disabled == "" && !p.dialing && !slices.ContainsFunc(p.conns, func(c *conn) bool {
		return c.outgoing || c.state != OpenSent
	})
}

func (p *peer) startDial() {
	ctx, cancel := context.WithCancel(context.Background())
	p.dialing, p.cancel = true, cancel
	peer := p.have.Peer
	p.readers.Go(func() {
		c, err := dial(ctx, peer)
		select {
		case p.dialed <- dialResult{c, err}:
		case <-ctx.Done():
			if c != nil {
				_ = c.Close()
			}
		}
	})
}

func (p *peer) stopDial() {
	if p.dialing {
		p.cancel()
		p.dialing = false
	}
}

// outgoing takes the result of a dial that has not been stopped.
func (p *peer) outgoing(result dialResult) {
	if !p.dialing { // stopped as it was handed over
		if result.conn != nil {
			_ = result.conn.Close()
		}
		return
	}
	p.cancel()
	p.dialing = false
	if result.err != nil {
		p.note(result.err.Error())
		p.later(retryMin)
		return
	}
	p.begin(newConn(result.conn, true))
}

// incoming takes a connection of the gateway's.
func (p *peer) incoming(c net.Conn) {
	if p.have.Disabled != "" {
		_ = c.Close()
		return
	}
	for _, old := range slices.Clone(p.conns) {
		if !old.outgoing && old.state == OpenSent { // the gateway has given it up
			p.remove(old, nil)
		} else if !old.outgoing && old.state == OpenConfirm {
			_ = c.Close()
			return
		}
	}
	send, least := p.have.ttls()
	if err := controlConn(c, func(fd int) error { return setTTLs(fd, p.have.Address.Is6(), send, least) }); err != nil {
		p.log.Warn("connection of the gateway", "error", err)
		_ = c.Close()
		return
	}
	p.begin(newConn(c, false))
}

// later has the next dial wait, with jitter so that both sides do not collide
// again and again.
func (p *peer) later(wait time.Duration) {
	wait = min(wait+time.Duration(p.refusals)*time.Second, retryMax)
	p.nextDial = time.Now().Add(wait*3/4 + rand.N(wait/4))
}

func (p *peer) established() *conn {
	for _, c := range p.conns {
		if c.state == Established {
			return c
		}
	}
	return nil
}
