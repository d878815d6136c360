// SPDX-License-Identifier: Apache-2.0

package slowpath

import (
	"container/list"
	"slices"
	"time"
)

// fragment is a later fragment of a packet. Its frame is as it came in.
type fragment struct {
	key   FragmentKey
	frame []byte
	l3    int
	until time.Time
}

// hold keeps fragments by their packet. All are held for the same time, so the
// order in which they came is the order in which they expire.
type hold struct {
	perPacket, packets, bytes int // limits
	last                      time.Duration

	used  int // bytes
	order *list.List
	byKey map[FragmentKey][]*list.Element
}

func newHold(c Config) hold {
	return hold{
		perPacket: c.MaxPerPacket, packets: c.MaxPackets, bytes: c.MaxBytes, last: c.Hold,
		order: list.New(), byKey: make(map[FragmentKey][]*list.Element),
	}
}

func (h *hold) len() int { return h.order.Len() }

// add keeps a copy of the fragment's frame, which may lie in a larger buffer,
// if there is room.
func (h *hold) add(f fragment, now time.Time) bool {
	of := h.byKey[f.key]
	if len(of) >= h.perPacket || of == nil && len(h.byKey) >= h.packets || h.used+len(f.frame) > h.bytes {
		return false
	}
	f.frame, f.until = slices.Clone(f.frame), now.Add(h.last)
	h.used += len(f.frame)
	h.byKey[f.key] = append(of, h.order.PushBack(f))
	return true
}

// take removes and returns the packet's fragments in the order they came.
func (h *hold) take(key FragmentKey) []fragment {
	fragments := make([]fragment, 0, len(h.byKey[key]))
	for _, e := range h.byKey[key] {
		fragments = append(fragments, h.remove(e))
	}
	delete(h.byKey, key)
	return fragments
}

// dropFirst removes the fragment that came first of all.
func (h *hold) dropFirst() {
	f := h.remove(h.order.Front())
	// It is the first of its packet, too.
	if rest := h.byKey[f.key][1:]; len(rest) > 0 {
		h.byKey[f.key] = rest
	} else {
		delete(h.byKey, f.key)
	}
}

func (h *hold) remove(e *list.Element) fragment {
	f := h.order.Remove(e).(fragment)
	h.used -= len(f.frame)
	return f
}

// next is when the next fragment expires, and its packet.
func (h *hold) next() (key FragmentKey, until time.Time, ok bool) {
	e := h.order.Front()
	if e == nil {
		return FragmentKey{}, time.Time{}, false
	}
	f := e.Value.(fragment)
	return f.key, f.until, true
}
