// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Steady is a set of UDP flows that send numbered requests at a fixed total
// rate and remember what became of each.
type Steady struct {
	flows  []*flow
	tick   time.Duration
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// flow is one 5-tuple. The sender alone appends to sent; mu guards all.
type flow struct {
	conn net.Conn
	mu   sync.Mutex
	sent []request // index = sequence number
}

type request struct {
	at     time.Time
	server string // who answered; "" = nobody yet
	heard  time.Time
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
	s := &Steady{cancel: cancel, tick: time.Duration(float64(time.Second) * float64(cfg.Flows) / float64(cfg.Rate))}
	for i := range cfg.Flows {
		to := cfg.To[i%len(cfg.To)]
		conn, err := cfg.Dial(ctx, "udp", netip.AddrPort{}, to)
		if err != nil {
			s.Stop()
			return nil, fmt.Errorf("open flow to %s: %w", to, err)
		}
		if u, ok := conn.(*net.UDPConn); ok {
			_ = u.SetReadBuffer(socketBuffer)
		}
		s.flows = append(s.flows, &flow{conn: conn})
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
	seq := len(f.sent)
	f.sent = append(f.sent, request{at: time.Now()})
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
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	if seq < len(f.sent) && f.sent[seq].server == "" {
		f.sent[seq].server, f.sent[seq].heard = server, now
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
		m.seq[i] = len(f.sent)
		f.mu.Unlock()
	}
	return m
}
