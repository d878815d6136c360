// SPDX-License-Identifier: Apache-2.0

package bfdnet

import (
	"fmt"
	"time"

	"github.com/weft-project/weft/internal/bfd"
)

// standstill is the lateness from which on the thread or the machine has not run;
// below, timers are merely coarse.
const standstill = 5 * time.Millisecond

// Delays is how well the machine serves the thread.
type Delays struct {
	// Standstills are wake-ups that were 5 ms late or more; Longest is the latest.
	Standstills uint64
	Longest     time.Duration
	// OldestPacket is the longest that a packet has waited to be read.
	OldestPacket time.Duration
}

// Delays since New.
func (s *Speaker) Delays() Delays {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.delays
}

// stood looks whether the thread woke later than it wanted to. That time counts
// for no session's detection time: packets may be on their way through the kernel,
// and the neighbour may wait for ours.
func (s *Speaker) stood(due, woke time.Time) {
	late := woke.Sub(due)
	if due.IsZero() || late < standstill {
		return
	}
	s.delays.Standstills++
	s.delays.Longest = max(s.delays.Longest, late)
	s.stoodAt, s.stoodFor = woke, late
	for _, session := range s.sessions {
		session.machine.Forgive(late)
	}
}

// blame notes with a session that has expired whether we had stood still.
func (s *Speaker) blame(session *session, now time.Time) {
	session.blame = ""
	if since := now.Sub(s.stoodAt); !s.stoodAt.IsZero() && since < time.Second {
		session.blame = fmt.Sprintf(" (%v after this process had stood still for %v)",
			since.Round(time.Millisecond), s.stoodFor.Round(time.Millisecond))
	}
}

// tell reports a change of state, without the lock.
func (s *Speaker) tell(event Status) {
	if event.Diag == bfd.DetectionTimeExpired && event.State == bfd.Down {
		delays := s.Delays()
		s.options.Log.Info("BFD session is down", "session", event.Name, "neighbor", event.Remote, "reason", event.LastError,
			"standstills", delays.Standstills, "longestStandstill", delays.Longest, "oldestPacket", delays.OldestPacket)
	}
	if s.options.OnChange != nil {
		s.options.OnChange(event)
	}
}
