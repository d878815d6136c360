// SPDX-License-Identifier: Apache-2.0

package liveness

import (
	"container/heap"
	"time"
)

// notWaiting is the index of a tunnel that is not among the retries.
const notWaiting = -1

// retries are the tunnels whose state waits for its ack, a heap by due.
type retries []*tunnel

func (r *retries) add(t *tunnel) { heap.Push(r, t) }

// remove does nothing for a tunnel that does not wait.
func (r *retries) remove(t *tunnel) {
	if t.retry != notWaiting {
		heap.Remove(r, t.retry)
	}
}

// Len, Less, Swap, Push and Pop implement heap.Interface.
func (r retries) Len() int           { return len(r) }
func (r retries) Less(i, j int) bool { return r[i].due.Before(r[j].due) }
func (r retries) Swap(i, j int) {
	r[i], r[j] = r[j], r[i]
	r[i].retry, r[j].retry = i, j
}

func (r *retries) Push(x any) {
	t := x.(*tunnel)
	t.retry = len(*r)
	*r = append(*r, t)
}

func (r *retries) Pop() any {
	last := len(*r) - 1
	t := (*r)[last]
	(*r)[last] = nil
	*r = (*r)[:last]
	t.retry = notWaiting
	return t
}

// States and acks: at most paceBurst in every pacePeriod, 10,000 a second.
const (
	paceBurst  = 100
	pacePeriod = 10 * time.Millisecond
)

// pace bounds what is sent, however many tunnels have something to say.
type pace struct {
	began time.Time // the present period
	used  int
}

func (p *pace) may(now time.Time) bool {
	if now.Sub(p.began) >= pacePeriod {
		p.began, p.used = now, 0
	}
	return p.used < paceBurst
}

func (p *pace) count() { p.used++ }

func (p *pace) next() time.Time { return p.began.Add(pacePeriod) }
