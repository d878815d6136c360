// SPDX-License-Identifier: Apache-2.0

package bfd

import "time"

// Transmit appends the packet that is due to b; nil: none is. Call it until then.
func (s *Session) Transmit(b []byte, now time.Time) []byte {
	switch {
	case s.finalDue:
		// Whatever else holds, a poll is answered at once (6.8.7).
		s.finalDue = false
		return s.packet(b, true)
	case !s.due(now):
		return nil
	}
	s.lastSent, s.changed, s.jitter = now, false, s.random()
	return s.packet(b, false)
}

// due tells whether a packet is to be sent now that answers no poll.
func (s *Session) due(now time.Time) bool {
	if s.changed {
		return s.maySpeak() // "to more rapidly communicate a change" (6.8.7)
	}
	return s.periodic() && !now.Before(s.nextPeriodic())
}

// maySpeak: the passive side waits for the other one.
func (s *Session) maySpeak() bool { return !s.cfg.Passive || s.remoteDiscr != 0 }

// periodic lists what keeps us from sending packets periodically (6.8.7).
func (s *Session) periodic() bool {
	demand := s.remoteDemand && s.state == Up && s.remoteState == Up
	return s.maySpeak() && s.remoteMinRx != 0 && (!demand || s.polling)
}

// nextPeriodic is 75 to 100 % of the interval after the last packet, and at most
// 90 % where the loss of one packet is one too many (6.8.7).
func (s *Session) nextPeriodic() time.Time {
	interval, span := s.TxInterval(), uint64(25)
	least := interval / 4 * 3
	if s.cfg.Multiplier == 1 {
		span = 15
	}
	return s.lastSent.Add(least + interval*time.Duration(s.jitter%(span*1000))/100_000)
}

// Deadline is when Transmit or Expire has something to do next; the zero time is
// never.
func (s *Session) Deadline(now time.Time) time.Time {
	if s.finalDue || s.changed && s.maySpeak() {
		return now
	}
	var next time.Time
	if s.periodic() {
		next = s.nextPeriodic()
	}
	if s.remoteDiscr != 0 {
		if expiry := s.expiry(); next.IsZero() || expiry.Before(next) {
			next = expiry
		}
	}
	return next
}

func (s *Session) packet(b []byte, final bool) []byte {
	p := Packet{
		Diag: s.localDiag, State: s.state, Poll: s.polling && !final, Final: final,
		ControlPlaneIndependent: s.cfg.ControlPlaneIndependent, Multiplier: s.cfg.Multiplier,
		MyDiscriminator: s.localDiscr, YourDiscriminator: s.remoteDiscr,
		DesiredMinTx: s.desiredMinTx, RequiredMinRx: s.requiredMinRx,
	}
	s.counters.Sent++
	a := s.cfg.Auth
	if a == nil {
		return p.Append(b)
	}
	// Keyed SHA1 needs a new number only sometimes; always is simpler and safer.
	s.xmitAuthSeq++
	p.Auth = Section{Type: a.Type, KeyID: a.KeyID, Sequence: s.xmitAuthSeq}
	start := len(b)
	b = p.Append(b)
	a.sign(b[start:])
	return b
}
