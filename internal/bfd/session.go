// SPDX-License-Identifier: Apache-2.0

package bfd

import (
	"fmt"
	"time"
)

// Session is one end of a BFD session. Its methods are for one goroutine at a
// time. Their times come from one clock that never goes back.
type Session struct {
	cfg    Config
	random func() uint64

	// State variables (6.8.1), by their names there.
	state, remoteState       State
	localDiscr, remoteDiscr  uint32
	localDiag, remoteDiag    Diagnostic
	desiredMinTx             time.Duration // as told to the neighbour
	requiredMinRx            time.Duration // as told to the neighbour
	remoteMinRx, remoteMinTx time.Duration
	remoteMinTxBefore        time.Duration // of the last packet without a poll
	remoteDemand             bool
	remoteMultiplier         uint8
	rcvAuthSeq, xmitAuthSeq  uint32
	authSeqKnown             bool

	// txDesired and rxRequired are what is in force of the two intervals: until
	// the neighbour has confirmed, a change must not break its expectations (6.8.3).
	txDesired, rxRequired time.Duration
	polling               bool // a poll sequence is under way
	finalDue              bool // a poll is to be answered
	changed               bool // the next packet says something new

	lastSent     time.Time // of the periodic packets
	jitter       uint64    // of the present interval
	lastReceived time.Time
	forgiven     time.Duration // since lastReceived
	independent  bool
	since        time.Time
	counters     Counters
	problem      string
}

// Counters of a session. Flaps is how often it left Up.
type Counters struct{ Sent, Received, Discarded, Flaps uint64 }

// NewSession makes a session that is down. The discriminator is not 0 and no
// other session's here.
func NewSession(cfg Config, discriminator uint32, now time.Time, random func() uint64) (*Session, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if discriminator == 0 {
		return nil, fmt.Errorf("discriminator: is 0")
	}
	s := &Session{
		cfg: cfg, random: random, state: Down, remoteState: Down, localDiscr: discriminator,
		remoteMinRx: time.Microsecond, xmitAuthSeq: uint32(random()), since: now, changed: true,
	}
	if cfg.AdminDown {
		s.state, s.localDiag = AdminDown, AdministrativelyDown
	}
	s.renegotiate()
	return s, nil
}

// Configure changes the parameters: timers by a poll sequence and so without a
// change of state.
func (s *Session) Configure(cfg Config, now time.Time) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	if !cfg.Auth.equal(s.cfg.Auth) {
		s.authSeqKnown = false
	}
	s.changed = s.changed || !cfg.Equal(s.cfg)
	s.cfg = cfg
	switch {
	case cfg.AdminDown && s.state != AdminDown:
		s.setState(AdminDown, AdministrativelyDown, now) // 6.8.16
	case !cfg.AdminDown && s.state == AdminDown:
		s.setState(Down, NoDiagnostic, now)
	default:
		s.renegotiate()
	}
	return nil
}

// setState changes the state; diag is our reason.
func (s *Session) setState(state State, diag Diagnostic, now time.Time) {
	if s.state == Up {
		s.counters.Flaps++
		s.problem = diag.String()
	}
	if state == Up {
		s.problem = ""
	}
	s.state, s.localDiag, s.since, s.changed = state, diag, now, true
	if state == Down || state == AdminDown {
		s.polling = false // what it was about no longer counts
	}
	s.renegotiate()
}

// Discriminator is ours.
func (s *Session) Discriminator() uint32 { return s.localDiscr }

// State is ours.
func (s *Session) State() State { return s.state }

// Config is what is wanted.
func (s *Session) Config() Config { return s.cfg }

// Status is what a session tells about itself.
type Status struct {
	State, RemoteState State
	Diag, RemoteDiag   Diagnostic
	Since              time.Time // of State
	// TxInterval is how often packets are sent, before jitter; 0 = not
	// periodically. DetectionTime is 0 before the neighbour is known.
	TxInterval, DetectionTime     time.Duration
	RemoteMinTx, RemoteMinRx      time.Duration
	RemoteMultiplier              uint8
	RemoteControlPlaneIndependent bool
	Polling                       bool
	Counters
	Problem string // the last one since it was up
}

// Status of now.
func (s *Session) Status() Status {
	status := Status{
		State: s.state, RemoteState: s.remoteState, Diag: s.localDiag, RemoteDiag: s.remoteDiag, Since: s.since,
		DetectionTime: s.DetectionTime(), RemoteMinTx: s.remoteMinTx, RemoteMinRx: s.remoteMinRx,
		RemoteMultiplier: s.remoteMultiplier, RemoteControlPlaneIndependent: s.independent,
		Polling: s.polling, Counters: s.counters, Problem: s.problem,
	}
	if s.periodic() {
		status.TxInterval = s.TxInterval()
	}
	return status
}
