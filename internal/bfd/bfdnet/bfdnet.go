// SPDX-License-Identifier: Apache-2.0

package bfdnet

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/bfd"
)

// Key names a session. Local may be zero on a single hop: the kernel chooses.
// Interface is "" with Multihop, and set without.
type Key struct {
	Name          string
	Local, Remote netip.Addr
	Interface     string
	Multihop      bool
}

// Session is a wanted session.
type Session struct {
	Key
	bfd.Config
}

// Status of a session.
type Status struct {
	Key
	State, RemoteState bfd.State
	Diag, RemoteDiag   bfd.Diagnostic
	Since              time.Time // of State
	Flaps              uint64    // how often it left up
	// TxInterval and DetectionTime are in force now; 0 = none is.
	TxInterval, DetectionTime     time.Duration
	RemoteMinTx, RemoteMinRx      time.Duration // as the neighbour tells them
	Sent, Received, Discarded     uint64
	LastError                     string // since it was up the last time
	RemoteControlPlaneIndependent bool
}

// Options of New.
type Options struct {
	Log *slog.Logger
	// OnChange is called at every change of a state, at once, by the goroutine
	// that sends and receives: it must not block, and not call Set or Close.
	OnChange func(Status)
}

// Speaker runs sessions.
type Speaker struct {
	options  Options
	ns       *os.File // the namespace, until the thread has entered it
	wake     int      // eventfd
	done     chan struct{}
	commands chan func() error
	answers  chan error
	set      sync.Mutex // one Set or Close at a time
	closed   bool

	mu        sync.Mutex // guards all below
	table     *bfd.Table
	sessions  map[string]*session // by name
	leaving   []*session          // removed, and still saying so
	listeners [listeners]*listener
	unplaced  int // counts down: the links of sessions whose interface is missing
	scheduled string
	events    []Status // to be told without the lock
	sendBuf   []byte
	timeout   unix.Timespec
	due       time.Time // when ppoll is to return at the latest; zero: never
	delays    Delays
	stoodAt   time.Time // when the last standstill ended
	stoodFor  time.Duration
	ended     bool
}

// ErrClosed is returned after Close.
var ErrClosed = errors.New("BFD speaker is closed")

// New starts a speaker without sessions.
func New(options Options) (*Speaker, error) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("BFD: eventfd: %w", err)
	}
	ns, err := os.Open(threadNamespace)
	if err != nil {
		_ = unix.Close(wake)
		return nil, fmt.Errorf("BFD: %w", err)
	}
	s := newIdle(options)
	s.ns, s.wake = ns, wake
	started := make(chan error, 1)
	go s.thread(started)
	if err := <-started; err != nil {
		<-s.done
		return nil, errors.Join(err, unix.Close(wake))
	}
	return s, nil
}

// newIdle makes one without its thread.
func newIdle(options Options) *Speaker {
	if options.Log == nil {
		options.Log = slog.New(slog.DiscardHandler)
	}
	return &Speaker{
		options: options, done: make(chan struct{}), commands: make(chan func() error, 1), answers: make(chan error, 1),
		table: bfd.NewTable(random), sessions: map[string]*session{}, sendBuf: make([]byte, 0, bfd.MaxLength),
	}
}

// Set makes the sessions those wanted. What does not differ is not touched;
// changed parameters are negotiated without a change of state. An invalid set
// changes nothing; a session that cannot be started for now, for want of its
// interface, is tried again and says so in its status.
func (s *Speaker) Set(wanted []Session) error {
	if err := validate(wanted); err != nil {
		return err
	}
	return s.do(func() error { return s.apply(wanted, time.Now()) })
}

// Status of all sessions, in no order.
func (s *Speaker) Status() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	statuses := make([]Status, 0, len(s.sessions))
	for _, session := range s.sessions {
		statuses = append(statuses, session.status())
	}
	return statuses
}

// Discarded counts the packets by why they were discarded, also those that belong
// to no session.
func (s *Speaker) Discarded() map[bfd.Reason]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := map[bfd.Reason]uint64{}
	for reason, n := range s.table.Discarded {
		if n > 0 {
			counts[bfd.Reason(reason)] = n
		}
	}
	return counts
}

// Scheduling is how the thread is preferred to others: "SCHED_RR", "nice -20" or
// "default".
func (s *Speaker) Scheduling() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.scheduled
}

// Close tells every neighbour that the session is administratively down and ends.
func (s *Speaker) Close() error {
	err := s.do(s.end)
	if errors.Is(err, ErrClosed) {
		return nil
	}
	<-s.done
	s.set.Lock()
	defer s.set.Unlock()
	s.closed = true
	return errors.Join(err, unix.Close(s.wake))
}

// do lets the thread run a command.
func (s *Speaker) do(command func() error) error {
	s.set.Lock()
	defer s.set.Unlock()
	if s.closed {
		return ErrClosed
	}
	select {
	case <-s.done:
		return ErrClosed
	case s.commands <- command:
	}
	if _, err := unix.Write(s.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
		return fmt.Errorf("BFD: wake: %w", err)
	}
	return <-s.answers
}
