// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Steady is a set of UDP flows that send numbered requests at a fixed total
// rate and remember what became of each.
type Steady struct {
	flows  []*flow
	start  time.Time
	tick   time.Duration
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	servers []string // their names; a request has the index
}

// flow is one 5-tuple. The sender alone appends to sent; mu guards all.
type flow struct {
	steady *Steady
	conn   net.Conn
	mu     sync.Mutex
	first  int       // sequence number of sent[0]
	sent   []request // of what is not forgotten
	newest int       // highest sequence number that was answered
	before int       // server of the last answer that is forgotten
}

// request is one numbered datagram. A long run has many millions: it is small.
type request struct {
	at, heard int64  // nanoseconds since the start
	server    uint16 // number of who answered; 0 = nobody yet
	again     uint8  // answers after the first
	late      bool   // the answer came after that to a later request
}

// SteadyConfig describes the load: Rate is packets per second over all flows.
type SteadyConfig struct {
	To    []netip.AddrPort // destinations, round robin over the flows
	Flows int
	Rate  int
	Dial  Dialer
}

// StartSteady opens the flows and begins to send.
func StartSteady(cfg SteadyConfig) (*Steady, error) {
	ctx, cancel := context.WithCancel(context.Background())
	s := &Steady{start: time.Now(), cancel: cancel, servers: []string{""}, tick: time.Duration(float64(time.Second) * float64(cfg.Flows) / float64(cfg.Rate))}
	for i := range cfg.Flows {
		to := cfg.To[i%len(cfg.To)]
		conn, err := cfg.Dial(ctx, "udp", netip.AddrPort{}, to)
		if err != nil {
			s.Stop()
			return nil, fmt.Errorf("open flow to %s: %w", to, err)
		}
		if u, ok := conn.(*net.UDPConn); ok {
			roomy(u)
		}
		s.flows = append(s.flows, &flow{steady: s, conn: conn, newest: -1})
	}
	for _, f := range s.flows {
		s.wg.Go(f.receive)
	}
	s.wg.Go(func() { s.send(ctx) })
	return s, nil
}

// send visits all flows once per tick, spread over it, so that the load has no
// bursts that a real crowd of clients would not make.
func (s *Steady) send(ctx context.Context) {
	start, n := time.Now(), 0
	gap := s.tick / time.Duration(len(s.flows))
	for ctx.Err() == nil {
		due := start.Add(time.Duration(n) * gap)
		if wait := time.Until(due); wait > 0 {
			time.Sleep(wait) // pacing is what this function is for
		}
		s.flows[n%len(s.flows)].request()
		n++
	}
}

func (f *flow) request() {
	f.mu.Lock()
	seq := f.first + len(f.sent)
	f.sent = append(f.sent, request{at: int64(time.Since(f.steady.start))})
	f.mu.Unlock()
	var payload [8]byte
	binary.BigEndian.PutUint64(payload[:], uint64(seq))
	// An ICMP error of an earlier request is reported by the next send, which
	// then has not happened: send again. What fails twice stays unanswered.
	if _, err := f.conn.Write(payload[:]); err != nil {
		_, _ = f.conn.Write(payload[:])
	}
}

func (f *flow) receive() {
	buf := make([]byte, 2048)
	for {
		n, err := f.conn.Read(buf)
		if err != nil {
			if isClosed(err) {
				return
			}
			continue // ICMP error; the flow goes on
		}
		reply, err := parseReply(buf[:n])
		if err != nil || len(reply.Request) != 8 {
			continue
		}
		f.heard(int(binary.BigEndian.Uint64(reply.Request)), reply.Server)
	}
}

func (f *flow) heard(seq int, server string) {
	now, number := int64(time.Since(f.steady.start)), f.steady.number(server)
	f.mu.Lock()
	defer f.mu.Unlock()
	if seq < f.first || seq >= f.first+len(f.sent) {
		return
	}
	r := &f.sent[seq-f.first]
	switch {
	case r.server != 0:
		r.again++
		return
	case seq < f.newest:
		r.late = true
	default:
		f.newest = seq
	}
	r.server, r.heard = number, now
}

// number returns the number of a server, which is given at its first answer.
func (s *Steady) number(server string) uint16 {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.Index(s.servers, server)
	if at < 0 {
		at = len(s.servers)
		s.servers = append(s.servers, server)
	}
	return uint16(at)
}

// Forget frees what is known of the requests before the mark; windows that
// begin earlier are no longer possible.
func (s *Steady) Forget(m Mark) {
	for i, f := range s.flows {
		f.mu.Lock()
		if n := m.seq[i] - f.first; n > 0 {
			for _, r := range f.sent[:n] {
				if r.server != 0 {
					f.before = int(r.server)
				}
			}
			f.sent, f.first = slices.Clone(f.sent[n:]), m.seq[i]
		}
		f.mu.Unlock()
	}
}

// Stop ends the load and releases its sockets and goroutines.
func (s *Steady) Stop() {
	s.cancel()
	for _, f := range s.flows {
		_ = f.conn.Close()
	}
	s.wg.Wait()
}

// Mark is a point in the life of every flow.
type Mark struct {
	At  time.Time
	seq []int
}

// Sent returns how many requests had been sent at the mark.
func (m Mark) Sent() (n int) {
	for _, seq := range m.seq {
		n += seq
	}
	return n
}

// Mark notes where every flow stands.
func (s *Steady) Mark() Mark {
	m := Mark{At: time.Now(), seq: make([]int, len(s.flows))}
	for i, f := range s.flows {
		f.mu.Lock()
		m.seq[i] = f.first + len(f.sent)
		f.mu.Unlock()
	}
	return m
}
