// SPDX-License-Identifier: Apache-2.0

package balancer

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/weft-project/weft/internal/nl"
)

// A failed step is repeated after firstPause, then after twice as long each
// time, up to lastPause.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 5 * time.Second
)

func pause(failures int) time.Duration {
	return min(lastPause, firstPause<<min(failures, 10))
}

// leg is the interface of one connection in the replica's namespace.
type leg struct {
	target      *target
	connection  string
	iface       string
	mac, legMAC net.HardwareAddr

	index    int  // of the link that is there, 0 = none
	mtu      int  // of the link
	busy     bool // a goroutine is bringing it up, or will again
	up       bool // program attached and carrier: packets may be sent
	failures int
	err      error // of the last attempt to bring it up
}

// linkEvent follows a link of the namespace.
func (b *Balancer) linkEvent(event nl.LinkEvent) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	link := event.Link
	if event.Gone {
		b.detach(link.Index)
	}
	b.followPredecessor(link, event.Gone)
	for name, old := range b.present {
		if old.Index == link.Index && (name != link.Name || event.Gone) { // renamed or gone
			delete(b.present, name)
			b.followName(name)
		}
	}
	if !event.Gone {
		if old, ok := b.present[link.Name]; ok && old.Index != link.Index { // gone without a word
			b.detach(old.Index)
		}
		b.present[link.Name] = link
		b.followName(link.Name)
	}
}

func (b *Balancer) followName(name string) {
	if l := b.legs[name]; l != nil {
		b.follow(l)
	}
}

// follow brings a leg in step with its link. The caller holds the lock.
func (b *Balancer) follow(l *leg) {
	link := b.present[l.iface] // zero when there is none
	if link.Index != l.index {
		l.index, l.failures, l.err = link.Index, 0, nil
	}
	if link.MTU != l.mtu {
		l.mtu = link.MTU
		if l.up {
			b.touchAll(l.target, false)
		}
	}
	attached := b.programs[l.index].program != nil
	if up := attached && link.Up && link.Carrier; up != l.up {
		l.up = up
		b.touchAll(l.target, !up)
		b.rouse()
		b.notify()
	}
	// The link may be busy for a leg that had it before this one.
	if l.index != 0 && !attached && !l.busy && !b.bringing[l.index] {
		l.busy, b.bringing[l.index] = true, true
		index := l.index
		b.work.Go(func() { b.bringUp(l, index) })
	}
}

// attachment is the reply program on a link.
type attachment struct {
	iface   string
	program io.Closer
}

// detach takes the program from a link that has gone, or is left behind. Not
// when its leg is removed: the target's answers to the last packets it was sent
// are still to come. It is closed by and by: that takes its turn in the kernel,
// and no removal shall wait with it. The caller holds the lock.
func (b *Balancer) detach(index int) {
	if a, ok := b.programs[index]; ok {
		delete(b.programs, index)
		b.retire(a)
		b.notify()
	}
}

func (b *Balancer) retire(a attachment) {
	b.retired = append(b.retired, a)
	b.rouse()
}

// abandon sets the links of working legs down, so that nobody sends into them
// any more.
func (b *Balancer) abandon(legs []*leg) {
	for _, l := range legs {
		b.work.Go(func() {
			if err := b.links.SetDown(l.index); err != nil && !errors.Is(err, nl.ErrNotFound) {
				b.log.Warn("set leg down", "iface", l.iface, "err", err)
			}
		})
	}
	b.work.Wait()
}

// closeRetired closes the programs of detached legs, aside. The settler calls it
// when it has nothing else to do.
func (b *Balancer) closeRetired() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range b.retired {
		b.work.Go(func() { b.closeProgram(a) })
	}
	b.retired = nil
}

func (b *Balancer) closeProgram(a attachment) {
	if err := a.program.Close(); err != nil {
		b.log.Warn("detach reply program", "iface", a.iface, "err", err)
	}
}

// bringUp attaches the reply program to a leg's link and sets the link up,
// which gives it carrier and the target its slots.
func (b *Balancer) bringUp(l *leg, index int) {
	select {
	case b.slots <- struct{}{}:
	case <-b.ctx.Done():
		return
	}
	made := attachment{iface: l.iface}
	var err error
	if made.program, err = b.dp.AttachLeg(index); err != nil {
		err = fmt.Errorf("attach reply program to %s: %w", l.iface, err)
	} else if err = b.links.SetUp(index); err != nil {
		b.closeProgram(made)
	}
	<-b.slots

	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.bringing, index)
	if b.legs[l.iface] != l || l.index != index { // overtaken by events
		l.busy = false
		switch {
		case err != nil:
		case b.present[l.iface].Index == index: // as when the leg goes later
			b.programs[index] = made
			b.notify()
		default:
			b.retire(made)
		}
		b.followName(l.iface)
		return
	}
	if l.err = err; err == nil {
		l.busy, l.failures, b.programs[index] = false, 0, made
		b.follow(l)
		b.notify()
		return
	}
	b.log.Warn("leg is not up", "iface", l.iface, "target", l.target.name, "err", err)
	b.notify()
	after := pause(l.failures)
	l.failures++
	b.work.Go(func() { b.retry(l, after) })
}

// retry follows a busy leg again after a pause.
func (b *Balancer) retry(l *leg, after time.Duration) {
	timer := time.NewTimer(after)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-b.ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	l.busy = false
	if !b.closed && b.legs[l.iface] == l {
		b.follow(l)
	}
}
