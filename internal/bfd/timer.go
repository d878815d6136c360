// SPDX-License-Identifier: Apache-2.0

package bfd

import "time"

// DetectionTime is after how long without a packet the session goes down in
// asynchronous mode (6.8.4).
func (s *Session) DetectionTime() time.Duration {
	return time.Duration(s.remoteMultiplier) * max(s.rxRequired, s.remoteMinTx)
}

// TxInterval is the time between periodic packets, before jitter (6.8.2, 6.8.7).
func (s *Session) TxInterval() time.Duration { return max(s.txDesired, s.remoteMinRx) }

// Forgive says that we stood still for a while, so that a packet may have come
// that we do not see yet, or our own silence may have silenced the neighbour. The
// detection time goes on after it, up to twice as long in all until a packet comes.
func (s *Session) Forgive(d time.Duration) {
	s.forgiven = min(s.forgiven+d, s.DetectionTime())
}

// expiry is when the detection time has passed.
func (s *Session) expiry() time.Time { return s.lastReceived.Add(s.DetectionTime() + s.forgiven) }

// Expire takes the session down when the detection time has passed, and reports
// whether it has. All packets that arrived before now must have been received.
func (s *Session) Expire(now time.Time) bool {
	if s.remoteDiscr == 0 || now.Before(s.expiry()) {
		return false
	}
	s.remoteDiscr = 0                // 6.8.1
	s.remoteMinRx = time.Microsecond // as for a neighbour that has not yet spoken
	s.remoteState, s.remoteDemand = Down, false
	if s.state != Init && s.state != Up {
		return false
	}
	s.setState(Down, DetectionTimeExpired, now)
	return true
}

// renegotiate tells the neighbour the wanted intervals, by a poll sequence where
// they differ from those told before (6.8.3). One sequence follows the other, so
// that a final bit answers no older one.
func (s *Session) renegotiate() {
	tx, rx := s.cfg.MinTx, s.cfg.MinRx
	if s.state != Up {
		tx = max(tx, SlowInterval)
	}
	if s.polling || tx == s.desiredMinTx && rx == s.requiredMinRx {
		return
	}
	s.desiredMinTx, s.requiredMinRx = tx, rx
	// What is slower for us to send, or sooner for us to give up, waits while
	// the neighbour goes by the old value.
	if s.state != Up || tx < s.txDesired {
		s.txDesired = tx
	}
	if s.state != Up || rx > s.rxRequired {
		s.rxRequired = rx
	}
	s.polling = s.remoteDiscr != 0
	s.changed = true
}

// endPoll puts into force what the neighbour has confirmed.
func (s *Session) endPoll() {
	s.polling = false
	// One packet more before the pace slackens: some (FRR 8) go by a changed
	// interval from the packet after the poll on only.
	s.changed = s.changed || s.desiredMinTx > s.txDesired
	s.txDesired, s.rxRequired = s.desiredMinTx, s.requiredMinRx
	s.renegotiate()
}
