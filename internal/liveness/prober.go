// SPDX-License-Identifier: Apache-2.0

package liveness

import "time"

// status is what probes say of a node.
type status uint8

const (
	unheard status = iota // no reply yet, and not long enough to be dead
	alive
	dead
)

func (s status) String() string { return [...]string{"unheard", "alive", "dead"}[s] }

// sentProbe is a probe without an answer.
type sentProbe struct {
	nonce uint64
	at    time.Time // not before it was sent
	over  bool      // it has had its interval, or was never sent
}

// prober judges a node by its answers.
type prober struct {
	interval   time.Duration
	multiplier int
	status     status
	pending    []sentProbe // oldest first; while dead only those sent since
}

// answer takes a reply and returns how many more probes count as answered: those
// up to the reply's. Its own counts even when it is late. A reply that is known,
// or to another process's probe, is ignored.
func (p *prober) answer(nonce uint64) (answered int) {
	for i := len(p.pending) - 1; i >= 0; i-- {
		if p.pending[i].nonce != nonce {
			continue
		}
		for _, s := range p.pending[:i+1] {
			if !s.over {
				answered++
			}
		}
		p.pending = p.pending[i+1:]
		p.status = alive
		return answered
	}
	return 0
}

// judge returns how many more probes have had their interval in vain. The time
// must have been read before the last reply was.
func (p *prober) judge(now time.Time) (lost int) {
	vain := 0
	for i := range p.pending {
		s := &p.pending[i]
		if now.Sub(s.at) < p.interval {
			break // as are all later ones
		}
		vain++
		if !s.over {
			s.over = true
			lost++
		}
	}
	if p.status != dead && vain >= p.multiplier &&
		now.Sub(p.pending[0].at) >= time.Duration(p.multiplier-1)*p.interval {
		p.status = dead
		p.pending = nil // a late reply to these does not end the death
	}
	return lost
}

// calm says that the node is alive and nothing is missing.
func (p *prober) calm() bool { return p.status == alive && len(p.pending) == 0 }

// sent adds a probe. One that could not be sent because there is no way is one
// without answer, too.
func (p *prober) sent(nonce uint64, at time.Time, failed bool) {
	// The oldest one matters for the age, the newest ones for replies.
	if limit := 8*p.multiplier + 8; len(p.pending) >= limit {
		if p.status == dead {
			p.pending = p.pending[1:]
		} else {
			p.pending = append(p.pending[:1], p.pending[2:]...)
		}
	}
	p.pending = append(p.pending, sentProbe{nonce: nonce, at: at, over: failed})
}
