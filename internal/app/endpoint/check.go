// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weft-project/weft/internal/balancer"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/nodecheck"
	"github.com/weft-project/weft/pkg/dataplane/lb"
)

// pinCheck is how long a pin may be missing before it is noticed.
const pinCheck = 10 * time.Second

// keepPins pins again what somebody has unpinned.
func (c *Component) keepPins() {
	if c.config.PinDir == "" {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(pinCheck)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			lost := c.plane.LostPins()
			if len(lost) == 0 {
				continue
			}
			if err := c.plane.Repin(); err != nil {
				c.log.Error("pins have vanished and cannot be made again", "pins", lost, "err", err)
			} else {
				c.log.Warn("pins have vanished and are made again", "pins", lost)
			}
		}
	}()
	c.onStop(func() error {
		cancel()
		<-done
		return nil
	})
}

// The kinds of findings.
const (
	kindPin     = "pin-missing"
	kindProgram = "program-missing"
	kindLeg     = "leg-down"
	kindTarget  = "target-differs"
)

// CheckPart returns the endpoint as a part of the node that can be checked.
func (c *Component) CheckPart() nodecheck.Part {
	return nodecheck.Part{Name: "endpoint " + c.config.Name, Checker: checker{c}}
}

type checker struct{ *Component }

// Check implements nodecheck.Checker.
func (c checker) Check(ctx context.Context, repair bool) ([]nodecheck.Finding, error) {
	var found []nodecheck.Finding
	var errs []error
	for _, part := range []func(bool) ([]nodecheck.Finding, error){c.pins, c.programs, c.targets,
		func(repair bool) ([]nodecheck.Finding, error) { return c.frontend(ctx, repair) }} {
		findings, err := part(repair)
		found, errs = append(found, findings...), append(errs, err)
	}
	return found, errors.Join(errs...)
}

func (c checker) object() string { return "endpoint " + c.config.Name }

func (c checker) pins(repair bool) (found []nodecheck.Finding, err error) {
	lost := c.plane.LostPins()
	if repair && len(lost) > 0 {
		err = c.plane.Repin()
	}
	for _, path := range lost {
		found = append(found, nodecheck.Finding{
			Kind: kindPin, Severity: nodecheck.Warning, Object: "pin " + path,
			Message: "the pin has vanished", Repaired: repair && err == nil,
		})
	}
	return found, err
}

func (c checker) programs(repair bool) (found []nodecheck.Finding, err error) {
	hooks, legs, err := c.plane.Bare()
	if err != nil || len(hooks)+len(legs) == 0 {
		return nil, err
	}
	if repair {
		err = c.plane.Dress()
	}
	missing := func(where string) {
		found = append(found, nodecheck.Finding{
			Kind: kindProgram, Severity: nodecheck.Error, Object: c.object(),
			Message: where + " lacks the load balancer's program", Repaired: repair && err == nil,
		})
	}
	for _, hook := range hooks {
		missing(fmt.Sprintf("%s of %s", hook, c.config.ExternalInterface))
	}
	for _, leg := range legs {
		missing(fmt.Sprintf("leg interface %d", leg))
	}
	return found, err
}

// targets compares where the data plane sends packets of targets with their legs.
// What changes meanwhile is no difference.
func (c checker) targets(repair bool) (found []nodecheck.Finding, err error) {
	before, err := c.misplaced()
	if err != nil || len(before) == 0 {
		return nil, err
	}
	after, err := c.misplaced()
	if err != nil {
		return nil, err
	}
	for _, m := range after {
		if !slices.ContainsFunc(before, func(b misplaced) bool { return b.message == m.message }) {
			continue
		}
		f := nodecheck.Finding{
			Kind: m.kind, Severity: nodecheck.Error, Object: c.object() + " target " + m.target, Message: m.message,
		}
		if repair && m.mend != nil {
			if err := m.mend(); err != nil {
				f.Message += ": " + err.Error()
			} else {
				f.Repaired = true
			}
		}
		found = append(found, f)
	}
	return found, nil
}

// misplaced is a target that packets do not reach.
type misplaced struct {
	target, kind, message string
	mend                  func() error // nil: nobody here can
}

func (c checker) misplaced() (found []misplaced, err error) {
	s := c.balancer.Snapshot()
	if s.Shadow {
		return nil, nil // the predecessor sends elsewhere
	}
	for _, t := range s.Targets {
		for _, leg := range t.Legs {
			if m := c.down(t.Name, leg); m != nil {
				found = append(found, *m)
			}
			if !leg.Active || !t.Placed {
				continue
			}
			at, ok, err := c.plane.TargetAt(t.ID)
			if err != nil {
				return nil, err
			}
			if ok && at.IfIndex == leg.IfIndex && slices.Equal(at.MAC, leg.MAC) && slices.Equal(at.LegMAC, leg.LegMAC) {
				continue
			}
			right := lb.Target{IfIndex: leg.IfIndex, MAC: leg.MAC, LegMAC: leg.LegMAC, MTU: at.MTU}
			found = append(found, misplaced{
				target: t.Name, kind: kindTarget,
				message: fmt.Sprintf("packets go to %s by interface %d, not to %s by interface %d", at.MAC, at.IfIndex, leg.MAC, leg.IfIndex),
				mend:    func() error { return c.plane.SetTarget(t.ID, right) },
			})
		}
	}
	return found, nil
}

// down tells why a leg gets no packets. The forwarder has to make a missing one.
func (c checker) down(target string, leg balancer.LegState) *misplaced {
	m := misplaced{target: target, kind: kindLeg}
	switch {
	case leg.IfIndex == 0:
		m.message = fmt.Sprintf("leg %s is missing", leg.Interface)
	case leg.Error != "":
		m.message = fmt.Sprintf("leg %s is not up: %s", leg.Interface, leg.Error)
	case leg.Attached && !leg.Up:
		m.message = fmt.Sprintf("leg %s has no carrier, or is down", leg.Interface)
		m.mend = func() error {
			return raise(c.config.NetNS, leg.IfIndex)
		}
	default:
		return nil
	}
	return &m
}

func raise(netNS string, ifindex int) error {
	return nl.Do(netNS, func(h *nl.Handle) error {
		if err := h.SetUp(ifindex); err != nil {
			return err
		}
		link, err := h.LinkByIndex(ifindex)
		if err == nil && !link.Carrier {
			err = errors.New("its other end is down")
		}
		return err
	})
}
