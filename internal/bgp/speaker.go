// SPDX-License-Identifier: Apache-2.0

package bgp

import (
	"cmp"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Options of a Speaker.
type Options struct {
	Log *slog.Logger // nil = none
	// OnChange is called after something in Status or Routes has changed, never
	// with a lock held; changes meanwhile give one more call. It may call Status
	// and Routes.
	OnChange func()
	// Restarting: gateways may still have the routes of a predecessor that is gone
	// (RFC 4724). They are told so for as long as the graceful restart lasts, and
	// hear no End-of-RIB before the first Set that announces something, so that
	// they withdraw nothing in between.
	Restarting bool
}

// Speaker keeps sessions with gateways.
type Speaker struct {
	log     *slog.Logger
	options Options

	mu        sync.Mutex
	config    Config
	peers     map[string]*peer
	listeners map[listenKey]*listener
	closed    bool
	// restart ends when End-of-RIB is no longer held back; the timer ends it.
	restart      restart
	restartTimer *time.Timer

	changed chan struct{} // capacity 1
	stop    chan struct{}
	group   sync.WaitGroup
}

// restart is what the sessions have to know of our own restart.
type restart struct {
	until time.Time // the R bit is set before; zero = no restart
	hold  bool      // no End-of-RIB yet
}

// New returns a speaker without gateways.
func New(options Options) (*Speaker, error) {
	s := &Speaker{
		log: options.Log, options: options,
		peers: map[string]*peer{}, listeners: map[listenKey]*listener{},
		changed: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.options.OnChange != nil {
		s.group.Go(s.tell)
	}
	return s, nil
}

func (s *Speaker) tell() {
	for {
		select {
		case <-s.changed:
			s.options.OnChange()
		case <-s.stop:
			return
		}
	}
}

// poke has OnChange called; it may be called with locks held.
func (s *Speaker) poke() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// Set makes the config the one in force. An error means that nothing has changed.
// It does not wait for sessions, but the routes of gateways that are disabled or
// gone are no longer in Routes when it returns.
func (s *Speaker) Set(config Config) error {
	config, err := config.normal()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errors.New("the BGP speaker is closed")
	}
	s.beginRestart(config)
	s.config = config
	wanted := make(map[string]bool, len(config.Peers))
	for _, peer := range config.Peers {
		wanted[peer.Name] = true
	}
	for name, p := range s.peers {
		if !wanted[name] {
			p.end(endRemoved)
			delete(s.peers, name)
		}
	}
	s.listen(config.Peers)
	for _, peer := range config.Peers {
		p := s.peers[peer.Name]
		want := target{Peer: peer, routerID: config.RouterID, announce: config.Announce, graceful: config.GracefulRestart, restart: s.restart}
		if p != nil {
			p.set(want)
			continue
		}
		p = newPeer(s, want)
		s.peers[peer.Name] = p
		s.group.Go(p.run)
	}
	s.poke()
	return nil
}

// beginRestart starts the time of our restart with the first config, and ends
// the holding back of End-of-RIB with the first that announces something.
func (s *Speaker) beginRestart(config Config) {
	if s.options.Restarting && s.restart.until.IsZero() && config.GracefulRestart > 0 && len(config.Peers) > 0 {
		s.restart = restart{until: time.Now().Add(config.GracefulRestart), hold: true}
		s.restartTimer = time.AfterFunc(config.GracefulRestart, s.endRestart)
	}
	if len(config.Announce) > 0 {
		s.restart.hold = false
	}
}

func (s *Speaker) endRestart() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.restart.hold {
		return
	}
	s.restart.hold = false
	for _, p := range s.peers {
		want := p.wanted()
		want.restart = s.restart
		p.set(want)
	}
}

// Status returns the state of all sessions, sorted by name.
func (s *Speaker) Status() []PeerStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]PeerStatus, 0, len(s.peers))
	for _, p := range s.peers {
		status := p.status()
		status.ListenError = s.listenError(p.wanted().Peer)
		if status.LastError == "" && status.State != Established {
			status.LastError = status.ListenError
		}
		all = append(all, status)
	}
	slices.SortFunc(all, func(a, b PeerStatus) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// Routes returns what is learned from gateways whose session is established, or
// that restart gracefully; sorted by prefix, then by gateway.
func (s *Speaker) Routes() []Route {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Route
	for _, p := range s.peers {
		all = p.routes(all)
	}
	slices.SortFunc(all, func(a, b Route) int {
		return cmp.Or(a.Prefix.Compare(b.Prefix), cmp.Compare(a.Peer, b.Peer))
	})
	return all
}

// Close tells every gateway that we shut down, so that it drops our routes, and
// ends the speaker. It may be called more than once.
func (s *Speaker) Close() error { return s.close(endShutdown) }

// CloseRestarting ends the speaker without a word, so that gateways keep our
// routes for as long as the graceful restart allows.
func (s *Speaker) CloseRestarting() error { return s.close(endSilent) }

func (s *Speaker) close(how ending) error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		if s.restartTimer != nil {
			s.restartTimer.Stop()
		}
		for _, p := range s.peers {
			p.end(how)
		}
		clear(s.peers)
		s.listen(nil)
		close(s.stop)
	}
	s.mu.Unlock()
	s.group.Wait()
	return nil
}

// peerOf returns the peer that a connection from the address to our port is of.
func (s *Speaker) peerOf(remote netip.Addr, port uint16) *peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.peers {
		if want := p.wanted(); want.LocalPort == port && want.remote() == remote {
			return p
		}
	}
	return nil
}
