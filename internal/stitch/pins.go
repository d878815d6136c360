// SPDX-License-Identifier: Apache-2.0

package stitch

import (
	"context"
	"time"
)

// defaultPinCheck is how long a pin may be missing before it is noticed. Nothing
// is lost meanwhile, even if the process ends.
const defaultPinCheck = 10 * time.Second

// keepPins pins again what somebody has unpinned.
func (s *Stitcher) keepPins(ctx context.Context) {
	if s.opts.PinDir == "" {
		return
	}
	s.work.Go(func() {
		tick := time.NewTicker(s.opts.pinCheck)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			lost := s.xc.LostPins()
			if len(lost) == 0 {
				continue
			}
			if err := s.xc.Repin(); err != nil {
				s.log.Error("pins have vanished and cannot be made again", "pins", lost, "err", err)
			} else {
				s.log.Warn("pins have vanished and are made again", "pins", lost)
			}
		}
	})
}

// pins compares what is pinned.
func (c *checker) pins() error {
	for _, path := range c.s.xc.LostPins() {
		c.found = append(c.found, Difference{Kind: KindPin, Interface: path, Problem: "the pin has vanished", Repaired: c.repair})
	}
	if !c.repair {
		return nil
	}
	return c.s.xc.Repin()
}
