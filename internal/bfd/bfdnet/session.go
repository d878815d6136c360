// SPDX-License-Identifier: Apache-2.0

package bfdnet

import (
	"errors"
	"fmt"
	"time"

	"github.com/weft-project/weft/internal/bfd"
)

// retry is how long a socket that failed is left alone.
const retry = time.Second

// session is one that is wanted, or was and still says farewell.
type session struct {
	key     Key
	machine *bfd.Session
	sender  *sender // nil: to be opened at retryAt
	retryAt time.Time
	// problem is of sending; it is gone with the next packet that is sent.
	problem string
	told    bfd.State
	blame   string    // what we have to do with its going down
	until   time.Time // of one that leaves
}

func (s *session) status() Status {
	m := s.machine.Status()
	status := Status{
		Key: s.key, State: m.State, RemoteState: m.RemoteState, Diag: m.Diag, RemoteDiag: m.RemoteDiag,
		Since: m.Since.Round(0), Flaps: m.Flaps, TxInterval: m.TxInterval, DetectionTime: m.DetectionTime,
		RemoteMinTx: m.RemoteMinTx, RemoteMinRx: m.RemoteMinRx,
		Sent: m.Sent, Received: m.Received, Discarded: m.Discarded, LastError: m.Problem + s.blame,
		RemoteControlPlaneIndependent: m.RemoteControlPlaneIndependent,
	}
	if s.problem != "" {
		status.LastError = s.problem
	}
	return status
}

// path is where its packets come from.
func (s *session) path() bfd.Path {
	path := bfd.Path{Remote: s.key.Remote.WithZone(""), Multihop: s.key.Multihop}
	switch {
	case s.key.Multihop:
		path.Local = s.key.Local
	case s.sender != nil:
		path.Link = s.sender.link
	default:
		path.Link = -1 // of no packet; the table tells sessions apart by it
	}
	return path
}

func validate(wanted []Session) error {
	var errs []error
	names := map[string]bool{}
	paths := map[Key]string{}
	for _, w := range wanted {
		if names[w.Name] {
			errs = append(errs, fmt.Errorf("BFD session %q: is there twice", w.Name))
			continue
		}
		names[w.Name] = true
		path := Key{Remote: w.Remote.WithZone(""), Interface: w.Interface, Multihop: w.Multihop}
		if w.Multihop {
			path.Local = w.Local
		}
		if other, taken := paths[path]; taken {
			errs = append(errs, fmt.Errorf("BFD session %q: same path as session %q", w.Name, other))
		}
		paths[path] = w.Name
		if err := errors.Join(w.validate(), w.Validate()); err != nil {
			errs = append(errs, fmt.Errorf("BFD session %q: %w", w.Name, err))
		}
	}
	return errors.Join(errs...)
}

func (k Key) validate() error {
	switch {
	case !k.Remote.IsValid() || k.Remote.IsUnspecified() || k.Remote.IsMulticast() || k.Remote.Is4In6():
		return fmt.Errorf("remote: %v is not the address of a neighbour", k.Remote)
	case k.Multihop && k.Interface != "":
		return fmt.Errorf("interface: %q with several hops", k.Interface)
	case k.Multihop && !k.Local.IsValid():
		return errors.New("local: is missing, and several hops need it")
	case k.Multihop && k.Remote.IsLinkLocalUnicast():
		return fmt.Errorf("remote: %v is on the link, not over several hops", k.Remote)
	case !k.Multihop && k.Interface == "":
		return errors.New("interface: is missing, and a single hop needs it")
	case k.Local.IsValid() && k.Local.Is4() != k.Remote.Is4():
		return fmt.Errorf("local: %v and remote %v are of different families", k.Local, k.Remote)
	}
	return nil
}

// samePath: changed keys in which it differs make another session.
func (k Key) samePath(o Key) bool {
	return k.Local == o.Local && k.Remote == o.Remote && k.Interface == o.Interface && k.Multihop == o.Multihop
}

// apply runs on the thread, with the lock.
func (s *Speaker) apply(wanted []Session, now time.Time) error {
	byName := map[string]Session{}
	for _, w := range wanted {
		byName[w.Name] = w
	}
	for name, old := range s.sessions {
		if w, ok := byName[name]; !ok || !w.samePath(old.key) {
			s.leave(old, now)
			delete(s.sessions, name)
		}
	}
	var errs []error
	for _, w := range wanted {
		if err := s.applyOne(w, now); err != nil {
			errs = append(errs, fmt.Errorf("BFD session %q: %w", w.Name, err))
		}
	}
	return errors.Join(errs...)
}

func (s *Speaker) applyOne(w Session, now time.Time) error {
	if old := s.sessions[w.Name]; old != nil {
		if err := old.machine.Configure(w.Config, now); err != nil {
			return err
		}
		s.service(old, now)
		return nil
	}
	if err := s.listen(w.Key); err != nil {
		return err
	}
	s.cut(w.Key)
	n := &session{key: w.Key, told: bfd.Down}
	n.open(now)
	// Two that wait for interfaces have no index to be told apart by yet, which
	// validate has done by name.
	path := n.path()
	if path.Link == -1 {
		s.unplaced--
		path.Link = s.unplaced
	}
	machine, err := s.table.Add(path, w.Config, now)
	if err != nil {
		n.close()
		return err
	}
	n.machine, n.told = machine, machine.State()
	s.sessions[w.Name] = n
	s.service(n, now)
	return nil
}

// leave lets a session that is not wanted any more say so for as long as the
// neighbour waits for packets (6.8.16).
func (s *Speaker) leave(old *session, now time.Time) {
	cfg := old.machine.Config()
	wait := time.Duration(cfg.Multiplier) * max(old.machine.TxInterval(), bfd.SlowInterval)
	cfg.AdminDown = true
	_ = old.machine.Configure(cfg, now) // was valid before
	old.until = now.Add(wait)
	old.told = bfd.AdminDown // who removes it needs no word
	s.send(old, now)
	s.leaving = append(s.leaving, old)
}

// cut ends the farewell of a session whose path a new one takes.
func (s *Speaker) cut(key Key) {
	for i := len(s.leaving) - 1; i >= 0; i-- {
		if old := s.leaving[i]; old.key.Remote == key.Remote && old.key.Interface == key.Interface && old.key.Multihop == key.Multihop {
			s.forget(i)
		}
	}
}

func (s *Speaker) forget(i int) {
	old := s.leaving[i]
	s.table.Remove(old.machine)
	old.close()
	s.leaving = append(s.leaving[:i], s.leaving[i+1:]...)
}

// end runs on the thread, with the lock.
func (s *Speaker) end() error {
	now := time.Now()
	for _, old := range s.sessions {
		s.leave(old, now)
	}
	for i := len(s.leaving) - 1; i >= 0; i-- {
		s.forget(i)
	}
	clear(s.sessions)
	s.ended = true
	for i, l := range s.listeners {
		if l != nil {
			l.close()
			s.listeners[i] = nil
		}
	}
	return nil
}

// open opens the sending socket, and says why if it cannot.
func (s *session) open(now time.Time) {
	s.retryAt = now.Add(retry)
	var err error
	if s.sender, err = openSender(s.key); err != nil {
		s.problem = err.Error()
		return
	}
	s.problem = ""
}

func (s *session) close() {
	if s.sender != nil {
		s.sender.close()
		s.sender = nil
	}
}
