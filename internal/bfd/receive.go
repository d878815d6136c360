// SPDX-License-Identifier: Apache-2.0

package bfd

import "time"

// Receive takes a decoded packet that belongs to the session, and the bytes that
// it was decoded from; now is when it arrived. It follows 6.8.6 from the step on
// after which the session is known, in its order.
func (s *Session) Receive(p *Packet, raw []byte, now time.Time) Reason {
	if reason := s.authenticate(p, raw, now); reason != Accepted {
		return s.Discard(reason)
	}
	s.remoteDiscr = p.MyDiscriminator
	s.remoteState = p.State
	s.remoteDemand = p.Demand
	s.remoteMinRx = p.RequiredMinRx
	// No echo is sent here, so that none has to cease when the neighbour does
	// not want it.
	if s.polling && p.Final {
		s.endPoll()
	}
	// The transmit interval (6.8.2) and the detection time (6.8.4) follow from
	// these and are not stored.
	s.remoteMinTx = p.DesiredMinTx
	if p.Poll && s.state == Up {
		// A neighbour that is told so by our answer may send faster only then
		// (FRR does), so that we expect it of the next packet on.
		s.remoteMinTx = max(s.remoteMinTx, s.remoteMinTxBefore)
	} else {
		s.remoteMinTxBefore = p.DesiredMinTx
	}
	s.remoteMultiplier = p.Multiplier
	s.remoteDiag, s.independent = p.Diag, p.ControlPlaneIndependent
	if s.state == AdminDown {
		return s.Discard(LocalAdminDown)
	}
	s.advance(p.State, now)
	// Whether demand mode is active on the neighbour's side is looked at when
	// it matters: periodic.
	if p.Poll {
		s.finalDue = true
	}
	s.lastReceived, s.forgiven = now, 0
	s.counters.Received++
	return Accepted
}

// advance is the state machine (6.2 and the second half of 6.8.6).
func (s *Session) advance(received State, now time.Time) {
	if received == AdminDown {
		if s.state != Down {
			s.setState(Down, NeighborSignaledDown, now)
		}
		return
	}
	switch s.state {
	case Down:
		switch received {
		case Down:
			s.setState(Init, s.localDiag, now)
		case Init:
			s.setState(Up, NoDiagnostic, now)
		}
	case Init:
		if received == Init || received == Up {
			s.setState(Up, NoDiagnostic, now)
		}
	case Up:
		if received == Down {
			s.setState(Down, NeighborSignaledDown, now)
		}
	}
}

// authenticate is 6.7.
func (s *Session) authenticate(p *Packet, raw []byte, now time.Time) Reason {
	a := s.cfg.Auth
	if a == nil {
		if p.Auth.Type != NoAuth {
			return AuthUnexpected
		}
		return Accepted
	}
	if s.authSeqKnown && now.Sub(s.lastReceived) >= 2*s.DetectionTime() {
		s.authSeqKnown = false // 6.8.1: the neighbour may have restarted
	}
	switch {
	case p.Auth.Type == NoAuth:
		return AuthMissing
	case p.Auth.Type != a.Type:
		return AuthType
	case p.Auth.KeyID != a.KeyID:
		return AuthKeyID
	case s.authSeqKnown && !a.inWindow(p.Auth.Sequence, s.rcvAuthSeq, p.Multiplier):
		return AuthSequence
	case !a.verify(raw):
		return AuthDigest
	}
	s.authSeqKnown, s.rcvAuthSeq = true, p.Auth.Sequence
	return Accepted
}

// Discard counts a packet that was for the session but is not to be heeded.
func (s *Session) Discard(reason Reason) Reason {
	s.counters.Discarded++
	if reason != LocalAdminDown {
		s.problem = reason.String()
	}
	return reason
}
