// SPDX-License-Identifier: Apache-2.0

package bgp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"time"
)

// listenRetry is how often a port that is taken is tried again.
const listenRetry = time.Second

type listenKey struct {
	port uint16
	v6   bool
}

// listener is a port of one family, which gateways share.
type listener struct {
	key       listenKey
	socket    *net.TCPListener // nil while it could not be opened
	err       error
	passwords map[netip.Addr]string // set on the socket
	retry     *time.Timer
}

// listen makes the listeners be those that the peers need; s.mu is held.
func (s *Speaker) listen(peers []Peer) {
	wanted := map[listenKey]map[netip.Addr]string{}
	for _, peer := range peers {
		key := listenKey{peer.LocalPort, peer.Address.Is6()}
		if wanted[key] == nil {
			wanted[key] = map[netip.Addr]string{}
		}
		if peer.Password != "" {
			wanted[key][peer.Address] = peer.Password
		}
	}
	for key, l := range s.listeners {
		if wanted[key] == nil {
			l.close()
			delete(s.listeners, key)
		}
	}
	for key, passwords := range wanted {
		l := s.listeners[key]
		if l == nil {
			l = &listener{key: key}
			s.listeners[key] = l
		}
		s.ensure(l, passwords)
	}
}

// ensure opens the listener if it is not open, and gives it the passwords.
func (s *Speaker) ensure(l *listener, passwords map[netip.Addr]string) {
	if l.socket == nil {
		if l.retry != nil {
			l.retry.Stop()
		}
		if l.err = l.open(); l.err != nil {
			l.retry = time.AfterFunc(listenRetry, s.listenAgain)
			s.log.Warn("gateways can not connect", "error", l.err)
			return
		}
		s.group.Go(func() { s.accept(l.socket, l.key.port) })
	}
	l.err = l.setPasswords(passwords)
}

// listenAgain tries what could not be opened.
func (s *Speaker) listenAgain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.listen(s.config.Peers)
	s.poke()
}

func (l *listener) open() error {
	network, address := "tcp4", "0.0.0.0"
	if l.key.v6 {
		network, address = "tcp6", "::"
	}
	config := net.ListenConfig{KeepAlive: -1, Control: func(_, _ string, c syscall.RawConn) error {
		// The answer to a connection has to pass a gateway's own TTL security.
		return control(c, func(fd int) error { return setTTLs(fd, l.key.v6, maxTTL, 0) })
	}}
	config.SetMultipathTCP(false) // has no MD5
	socket, err := config.Listen(context.Background(), network, net.JoinHostPort(address, strconv.Itoa(int(l.key.port))))
	if err != nil {
		var call *net.OpError
		if errors.As(err, &call) {
			err = call.Err
		}
		return fmt.Errorf("listen on %s port %d: %w", network, l.key.port, err)
	}
	l.socket, l.passwords = socket.(*net.TCPListener), map[netip.Addr]string{}
	return nil
}

// setPasswords changes those that differ; other gateways' stay as they are.
func (l *listener) setPasswords(passwords map[netip.Addr]string) error {
	raw, err := l.socket.SyscallConn()
	if err != nil {
		return err
	}
	var problems []error
	set := func(address netip.Addr, password string) {
		if err := control(raw, func(fd int) error { return setPassword(fd, address, password) }); err != nil {
			problems = append(problems, fmt.Errorf("listen on port %d for %v: %w", l.key.port, address, err))
			return
		}
		l.passwords[address] = password
	}
	for address := range l.passwords {
		if _, ok := passwords[address]; !ok {
			set(address, "")
			delete(l.passwords, address)
		}
	}
	for address, password := range passwords {
		if l.passwords[address] != password {
			set(address, password)
		}
	}
	return errors.Join(problems...)
}

func (l *listener) close() {
	if l.retry != nil {
		l.retry.Stop()
	}
	if l.socket != nil {
		_ = l.socket.Close()
	}
}

// accept hands connections to the gateways that they are from; it ends with the
// socket.
func (s *Speaker) accept(socket *net.TCPListener, port uint16) {
	for {
		c, err := socket.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // for example too many open files
			select {
			case <-s.stop:
				return
			case <-time.After(listenRetry):
			}
			continue
		}
		remote := addressOf(c.RemoteAddr())
		p := s.peerOf(remote, port)
		if p == nil {
			s.log.Debug("connection from an address that is no gateway's", "address", remote, "port", port)
			_ = c.Close()
			continue
		}
		p.accept(c)
	}
}

// listenError says why the gateway can not connect to us; s.mu is held.
func (s *Speaker) listenError(peer Peer) string {
	if l := s.listeners[listenKey{peer.LocalPort, peer.Address.Is6()}]; l != nil && l.err != nil {
		return l.err.Error()
	}
	return ""
}
