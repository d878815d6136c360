// SPDX-License-Identifier: Apache-2.0

package testutil

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/netns"
)

// ioLimit bounds one exchange of the helpers.
const ioLimit = 5 * time.Second

// Listen listens inside a namespace, until cleanup. The address is numeric.
func Listen(t testing.TB, ns, network, address string) net.Listener {
	t.Helper()
	var l net.Listener
	if err := netns.Do(ns, func() (err error) { l, err = net.Listen(network, address); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// ListenPacket opens a packet socket inside a namespace, until cleanup.
func ListenPacket(t testing.TB, ns, network, address string) net.PacketConn {
	t.Helper()
	var c net.PacketConn
	if err := netns.Do(ns, func() (err error) { c, err = net.ListenPacket(network, address); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Dial connects from inside a namespace. A non-empty local address is the
// source. Both addresses are numeric.
func Dial(ctx context.Context, ns, network, local, remote string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: ioLimit}
	if local != "" {
		var err error
		if dialer.LocalAddr, err = resolve(network, local); err != nil {
			return nil, err
		}
	}
	var c net.Conn
	err := netns.Do(ns, func() (err error) { c, err = dialer.DialContext(ctx, network, remote); return err })
	return c, err
}

func resolve(network, address string) (net.Addr, error) {
	switch network {
	case "tcp", "tcp4", "tcp6":
		return net.ResolveTCPAddr(network, address)
	case "udp", "udp4", "udp6":
		return net.ResolveUDPAddr(network, address)
	}
	return nil, fmt.Errorf("network %q is neither tcp nor udp", network)
}

// Echo serves TCP and UDP echo on one port inside a namespace, until cleanup,
// and returns its address.
func Echo(t testing.TB, ns, address string) string {
	t.Helper()
	var group sync.WaitGroup
	t.Cleanup(group.Wait) // runs after the sockets' own cleanups
	l := Listen(t, ns, "tcp", address)
	c := ListenPacket(t, ns, "udp", l.Addr().String())
	group.Go(func() { echoStreams(l) })
	group.Go(func() { echoPackets(c) })
	return l.Addr().String()
}

func echoStreams(l net.Listener) {
	var group sync.WaitGroup
	defer group.Wait()
	done := make(chan struct{})
	defer close(done)
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		group.Go(func() {
			ended := make(chan struct{})
			group.Go(func() {
				select {
				case <-done:
				case <-ended:
				}
				_ = c.Close()
			})
			_, _ = io.Copy(c, c)
			close(ended)
		})
	}
}

func echoPackets(c net.PacketConn) {
	buffer := make([]byte, 1<<16)
	for {
		n, from, err := c.ReadFrom(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			_, _ = c.WriteTo(buffer[:n], from)
		}
	}
}

// Exchange sends the text from a namespace to an echo server and returns the
// answer. The local address may be empty.
func Exchange(ns, network, local, remote, text string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), ioLimit)
	defer cancel()
	c, err := Dial(ctx, ns, network, local, remote)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(ioLimit)); err != nil {
		return "", err
	}
	// Neither side may wait until the other has read: the buffers are smaller
	// than some texts.
	written := make(chan error, 1)
	go func() {
		_, err := io.WriteString(c, text)
		written <- err
	}()
	answer := make([]byte, len(text))
	n, err := io.ReadFull(c, answer)
	if err != nil {
		_ = c.Close() // ends the writer
	}
	return string(answer[:n]), errors.Join(err, <-written)
}

// MustExchange does an Exchange that has to succeed.
func MustExchange(t testing.TB, ns, network, local, remote string) {
	t.Helper()
	const text = "Weft weaves networks into running workloads."
	answer, err := Exchange(ns, network, local, remote, text)
	if err != nil {
		t.Fatalf("exchange over %s with %s: %v", network, remote, err)
	}
	if answer != text {
		t.Fatalf("exchange over %s with %s: got %q, want %q", network, remote, answer, text)
	}
}
