// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/nl"
)

// device looks the external interface up in the namespace.
func (l *LB) device() (dev *net.Interface, err error) {
	err = netns.Do(l.cfg.NetNS, func() error {
		dev, err = net.InterfaceByName(l.cfg.Interface)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("find interface %s: %w", l.cfg.Interface, err)
	}
	return dev, nil
}

// renewPause is how long to wait before rules that could not be written with
// another MAC or MTU are written again.
const renewPause = time.Second

// follower writes the rules again when the external interface has another MAC or
// MTU, which are part of them.
type follower struct {
	cancel context.CancelFunc
	work   sync.WaitGroup
}

func (l *LB) follow() error {
	ctx, cancel := context.WithCancel(context.Background())
	changed := make(chan struct{}, 1)
	var last nl.Link
	err := nl.WatchLinks(ctx, l.cfg.NetNS, func(e nl.LinkEvent) {
		same := e.Link.MTU == last.MTU && e.Link.MAC.String() == last.MAC.String()
		if e.Link.Index != l.id.ifindex || e.Gone || same {
			return
		}
		last = e.Link
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	if err != nil {
		cancel()
		return err
	}
	l.follower = &follower{cancel: cancel}
	l.follower.work.Go(func() { l.renewAlways(ctx, changed) })
	return nil
}

func (f *follower) close() {
	f.cancel()
	f.work.Wait()
}

func (l *LB) renewAlways(ctx context.Context, changed <-chan struct{}) {
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-again.C:
		}
		if err := l.renew(); err != nil && !errors.Is(err, errClosed) {
			again.Reset(renewPause)
		}
	}
}

// renew writes the rules in force again if the interface is not what it was.
func (l *LB) renew() error {
	dev, err := l.device()
	if err != nil {
		return nil // gone; it never comes back as the same
	}
	l.rules.Lock()
	defer l.rules.Unlock()
	if l.objs == nil {
		return errClosed
	}
	if dev.MTU == l.written.MTU && dev.HardwareAddr.String() == l.written.HardwareAddr.String() {
		return nil
	}
	return l.setRules(l.inForce)
}
