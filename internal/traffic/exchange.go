// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Exchange asks an address once, from a fresh source port, and returns the
// answer with the local address that was used. network is "tcp" or "udp".
type Exchange struct {
	Reply Reply
	Local netip.AddrPort
	RTT   time.Duration
}

// Dialer opens a connected socket; the caller decides in which namespace.
type Dialer func(ctx context.Context, network string, local, remote netip.AddrPort) (net.Conn, error)

// Dial is a Dialer for the calling thread's namespace.
func Dial(ctx context.Context, network string, local, remote netip.AddrPort) (net.Conn, error) {
	d := net.Dialer{}
	if local.IsValid() {
		if network == "tcp" {
			d.LocalAddr = net.TCPAddrFromAddrPort(local)
		} else {
			d.LocalAddr = net.UDPAddrFromAddrPort(local)
		}
	}
	return d.DialContext(ctx, network, remote.String())
}

// Ask makes one exchange within the timeout.
func Ask(dial Dialer, network string, to netip.AddrPort, timeout time.Duration) (Exchange, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	start := time.Now()
	conn, err := dial(ctx, network, netip.AddrPort{}, to)
	if err != nil {
		return Exchange{}, err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(start.Add(timeout))
	reply, err := ask(conn, network)
	if err != nil {
		return Exchange{}, err
	}
	return Exchange{Reply: reply, Local: localAddr(conn), RTT: time.Since(start)}, nil
}

func ask(conn net.Conn, network string) (Reply, error) {
	if network == "tcp" {
		line, err := bufio.NewReader(conn).ReadBytes('\n')
		if err != nil {
			return Reply{}, fmt.Errorf("read greeting: %w", err)
		}
		return parseReply(line)
	}
	if _, err := conn.Write([]byte("ask")); err != nil {
		return Reply{}, err
	}
	buf := make([]byte, 2048)
	n, err := conn.Read(buf)
	if err != nil {
		return Reply{}, fmt.Errorf("read answer: %w", err)
	}
	return parseReply(buf[:n])
}

func localAddr(conn net.Conn) netip.AddrPort {
	switch a := conn.LocalAddr().(type) {
	case *net.TCPAddr:
		return unmapped(a.AddrPort())
	case *net.UDPAddr:
		return unmapped(a.AddrPort())
	}
	return netip.AddrPort{}
}

// Tally is the outcome of many exchanges.
type Tally struct {
	Asked, Answered int
	ByServer        map[string]int
	Rewritten       int   // answers whose server saw another source address than the socket's
	FirstError      error // of those not answered
}

// AskMany makes n exchanges, at most parallel at a time, round robin over the
// destinations.
func AskMany(dial Dialer, network string, to []netip.AddrPort, n, parallel int, timeout time.Duration) Tally {
	t := Tally{Asked: n, ByServer: map[string]int{}}
	var mu sync.Mutex
	var wg sync.WaitGroup
	next := make(chan int)
	for range parallel {
		wg.Go(func() {
			for i := range next {
				x, err := Ask(dial, network, to[i%len(to)], timeout)
				mu.Lock()
				t.add(x, err)
				mu.Unlock()
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	return t
}

func (t *Tally) add(x Exchange, err error) {
	if err != nil {
		if t.FirstError == nil {
			t.FirstError = err
		}
		return
	}
	t.Answered++
	t.ByServer[x.Reply.Server]++
	if x.Reply.Peer != x.Local {
		t.Rewritten++
	}
}

// DialIn is Dial inside a namespace: do runs a function on a thread in there.
// A socket stays in the namespace it was made in, whoever uses it.
func DialIn(do func(fn func() error) error) Dialer {
	return func(ctx context.Context, network string, local, remote netip.AddrPort) (conn net.Conn, err error) {
		err = do(func() error {
			conn, err = Dial(ctx, network, local, remote)
			return err
		})
		return conn, err
	}
}
