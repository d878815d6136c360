// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf/link"

	"github.com/weft-project/weft/internal/bpffs"
	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/pkg/dataplane/ingress"
)

// inherit looks for a predecessor in the pin directory. What is of another
// interface, or incomplete, is discarded.
func (l *LB) inherit() error {
	dir := l.cfg.PinDir
	if dir == "" {
		return nil
	}
	place, err := bpffs.Open(dir)
	if err != nil {
		return err
	}
	l.place = place
	found, err := loadPins(dir)
	if err != nil {
		return err
	}
	usable, err := l.usable(found)
	if err != nil {
		return errors.Join(err, closeLinks(found))
	}
	if usable {
		l.inherited, l.shadow, l.pinned = found, true, true
		return nil
	}
	if err := errors.Join(closeLinks(found), Discard(dir)); err != nil {
		return err
	}
	l.pinned = true
	return place.Restore()
}

// usable says that links are those of a load balancer on this interface.
func (l *LB) usable(links map[string]link.Link) (usable bool, err error) {
	entry := links[hooks[0].name]
	if entry == nil {
		return false, nil
	}
	r, ok, err := readRecord(l.cfg.PinDir)
	if err != nil || !ok || r.block != l.blockID || r.ifindex != l.id.ifindex {
		return false, nil //nolint:nilerr // a record that cannot be read is none
	}
	err = netns.Do(l.cfg.NetNS, func() error {
		usable, err = attachedHere(entry, l.id.ifindex)
		return err
	})
	return usable, err
}

// Shadow says that a predecessor works until TakeOver.
func (l *LB) Shadow() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.shadow
}

// Predecessor says whether a predecessor works until TakeOver, and returns the
// interfaces that have its reply program.
func (l *LB) Predecessor() (legs []int, works bool, err error) {
	if !l.Shadow() {
		return nil, false, nil
	}
	legs, err = ingress.Members(l.cfg.NetNS, l.blockID)
	return legs, true, err
}

// succeeded says that another process has taken over meanwhile. The caller holds
// mu.
func (l *LB) succeeded() bool {
	if len(l.links) == 0 {
		return false
	}
	entry := l.links[0]
	info, err := entry.link.Info()
	if err != nil {
		return false
	}
	ours, err := entry.program(l.objs).Info()
	if err != nil {
		return false
	}
	id, ok := ours.ID()
	return ok && id != info.Program
}

// TakeOver puts the programs in the place of a predecessor's. Each hook of the
// external interface changes at once, and so do all legs; between two of these
// steps both generations work side by side. Flows that stay with their target
// (Rules.Affinity) do so beyond it, and the later fragments of packets find
// their way. Without a predecessor it does nothing. After an error both
// generations work, and it may be called again.
func (l *LB) TakeOver() error {
	l.rules.Lock()
	defer l.rules.Unlock()
	if l.objs == nil {
		return errClosed
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.shadow {
		return nil
	}
	if l.heritage == nil {
		l.heritage = openHeritage(l.inherited[hooks[0].name])
	}
	if err := l.heritage.copyPins(l); err != nil {
		return fmt.Errorf("take over: %w", err)
	}
	l.heritage.copyGateways(l)
	afterStep("affinity")
	if err := l.attach(); err != nil {
		return fmt.Errorf("take over: %w", err)
	}
	if err := l.block.TakeOver(); err != nil {
		return fmt.Errorf("take over legs: %w", err)
	}
	afterStep("legs")
	l.shadow = false
	l.heritage.expire(l)
	return nil
}
