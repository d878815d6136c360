// SPDX-License-Identifier: Apache-2.0

package slowpath

// Counters is what an engine has done, in packets unless said otherwise.
type Counters struct {
	Malformed uint64 // events that contradict themselves or their frame

	// ICMP errors.
	TimeExceeded uint64 // sent
	TooBig       uint64 // sent
	NotAllowed   uint64 // suppressed: never about such a packet
	RateLimited  uint64 // suppressed: too many

	// Packets to be cut.
	Cut       uint64 // cut and sent whole
	Pieces    uint64 // fragments that they became, those sent
	CutFailed uint64

	// Later fragments.
	Held     uint64 // now
	Released uint64 // were held until their first one had been seen
	Expired  uint64 // were held in vain
	Refused  uint64 // dropped: no room to hold them

	// What became of the later fragments that were released or not even held.
	Forwarded     uint64 // to a target
	Echoed        uint64 // answered as an echo
	Dropped       uint64 // as their first one was
	Undeliverable uint64 // TTL, MTU, or no such target

	SendErrors uint64 // frames that the interface did not take
}

// Traffic is what went to a target, frames counted as they came in.
type Traffic struct{ Packets, Bytes uint64 }

// Counters returns the present values.
func (e *Engine) Counters() Counters {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.counters
}

// Traffic returns what later fragments the engine has sent to a target since it
// was last forgotten. Cut packets are not in it: the program has counted them.
func (e *Engine) Traffic(target uint16) Traffic {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.traffic[target]
}

// Forget clears the traffic of a target, so that its number can stand for
// another one.
func (e *Engine) Forget(target uint16) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.traffic, target)
}

// count adds one to a field of e.counters.
func (e *Engine) count(field *uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	*field++
}

func (e *Engine) countForwarded(target uint16, length int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.counters.Forwarded++
	t := e.traffic[target]
	t.Packets++
	t.Bytes += uint64(length)
	e.traffic[target] = t
}
