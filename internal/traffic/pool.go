// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	poolPause   = 20 * time.Millisecond // between two lines of one connection
	poolTimeout = 2 * time.Second       // silence after which a connection counts as broken
)

// Pool is a set of long-lived TCP connections that echo a line all the time.
// A connection that breaks is opened again from the same source port: when
// another server answers then, the tables had moved the flow; when the same
// one does, it was broken without need.
type Pool struct {
	dial   Dialer
	cancel context.CancelFunc
	wg     sync.WaitGroup
	mu     sync.Mutex
	stats  PoolStats
	conns  map[net.Conn]time.Time // last echo
}

// PoolStats counts since the start of the pool.
type PoolStats struct {
	Open        int   // connections that are up now
	Lines       int   // echoes received
	Broken      int   // connections that broke
	BrokenMoved int   // of those, moved to another server by the tables
	LastUnmoved error // why the last of the others broke
}

// BrokenUnmoved are connections broken though their server stayed the same.
func (s PoolStats) BrokenUnmoved() int { return s.Broken - s.BrokenMoved }

// StartPool opens n connections, round robin over the destinations, and
// returns when all of them are up.
func StartPool(dial Dialer, to []netip.AddrPort, n int) (*Pool, error) {
	ctx, cancel := context.WithCancel(context.Background())
	p := &Pool{dial: dial, cancel: cancel, conns: map[net.Conn]time.Time{}}
	for i := range n {
		c, err := p.first(ctx, to[i%len(to)])
		if err != nil {
			p.Stop()
			return nil, fmt.Errorf("open connection %d to %s: %w", i, to[i%len(to)], err)
		}
		p.wg.Go(func() { p.run(ctx, c) })
	}
	return p, nil
}

// first opens a connection bound to its source address from the start, as it
// will be when it is opened again: a host with several routes chooses one for
// an unbound socket before it knows the whole flow.
func (p *Pool) first(ctx context.Context, remote netip.AddrPort) (*poolConn, error) {
	probe, err := p.dial(ctx, "udp", netip.AddrPort{}, remote)
	if err != nil {
		return nil, err
	}
	local := localAddr(probe).Addr()
	_ = probe.Close()
	return p.open(ctx, netip.AddrPortFrom(local, 0), remote)
}

type poolConn struct {
	net.Conn
	r             *bufio.Reader
	server        string
	local, remote netip.AddrPort
}

func (p *Pool) open(ctx context.Context, local, remote netip.AddrPort) (*poolConn, error) {
	ctx, cancel := context.WithTimeout(ctx, poolTimeout)
	defer cancel()
	conn, err := p.dial(ctx, "tcp", local, remote)
	if err != nil {
		return nil, err
	}
	c := &poolConn{Conn: conn, r: bufio.NewReader(conn), local: localAddr(conn), remote: remote}
	_ = conn.SetDeadline(time.Now().Add(poolTimeout))
	line, err := c.r.ReadBytes('\n')
	if err == nil {
		var reply Reply
		reply, err = parseReply(line)
		c.server = reply.Server
	}
	if err != nil {
		c.abort()
		return nil, err
	}
	return c, p.add(c)
}

// abort closes with a reset, so that the source port can be used again at once.
func (c *poolConn) abort() {
	if t, ok := c.Conn.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}

func (p *Pool) add(c *poolConn) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns == nil {
		c.abort()
		return net.ErrClosed
	}
	p.conns[c.Conn] = time.Now()
	p.stats.Open++
	return nil
}

func (p *Pool) run(ctx context.Context, c *poolConn) {
	for c != nil {
		err := p.chat(ctx, c)
		c.abort()
		p.mu.Lock()
		delete(p.conns, c.Conn)
		p.stats.Open--
		if ctx.Err() == nil {
			p.stats.Broken++
		}
		p.mu.Unlock()
		c = p.reopen(ctx, c, err)
	}
}

func (p *Pool) chat(ctx context.Context, c *poolConn) error {
	tick := time.NewTicker(poolPause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		_ = c.SetDeadline(time.Now().Add(poolTimeout))
		if _, err := c.Write([]byte("still there?\n")); err != nil {
			return err
		}
		if _, err := c.r.ReadBytes('\n'); err != nil {
			return err
		}
		p.mu.Lock()
		p.stats.Lines++
		if _, open := p.conns[c.Conn]; open {
			p.conns[c.Conn] = time.Now()
		}
		p.mu.Unlock()
	}
}

// reopen connects again from the same source port and notes who answers.
func (p *Pool) reopen(ctx context.Context, old *poolConn, broke error) *poolConn {
	tick := time.NewTicker(poolPause)
	defer tick.Stop()
	for ctx.Err() == nil {
		c, err := p.open(ctx, old.local, old.remote)
		if err == nil {
			p.mu.Lock()
			if c.server != old.server {
				p.stats.BrokenMoved++
			} else {
				p.stats.LastUnmoved = fmt.Errorf("%s to %s at %s: %w", old.local, old.remote, old.server, broke)
			}
			p.mu.Unlock()
			return c
		}
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	return nil
}

// Stats returns the counts so far.
func (p *Pool) Stats() PoolStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stats
}

// Settle returns the counts when each of the n connections has had an echo of a
// line sent after now, so that what broke until now is counted; it gives up
// after a few timeouts.
func (p *Pool) Settle(n int) PoolStats {
	since := time.Now().Add(poolPause)
	tick := time.NewTicker(poolPause)
	defer tick.Stop()
	for deadline := since.Add(4 * poolTimeout); time.Now().Before(deadline) && p.fresh(since) < n; {
		<-tick.C
	}
	return p.Stats()
}

func (p *Pool) fresh(since time.Time) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, echo := range p.conns {
		if echo.After(since) {
			n++
		}
	}
	return n
}

// Stop closes all connections and waits for the pool's goroutines.
func (p *Pool) Stop() {
	p.cancel()
	p.mu.Lock()
	for c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
	p.mu.Unlock()
	p.wg.Wait()
}
