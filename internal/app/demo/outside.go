// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"errors"
	"time"

	"github.com/weft-project/weft/internal/cluster"
	"github.com/weft-project/weft/internal/router"
	"github.com/weft-project/weft/internal/traffic"
)

const (
	bfdInterval   = 100 * time.Millisecond
	bfdMultiplier = 3
	// detected bounds how long packets are lost after a link is cut: the detection
	// time of BFD, and room for a machine that does other things, too.
	detected = bfdInterval*bfdMultiplier + 850*time.Millisecond
	// sessionPatience is for BGP sessions, which are tried again after seconds.
	sessionPatience = 60 * time.Second
	// maxReplicas of trench-a that the router knows.
	maxReplicas = 3
)

// startRouter runs the gateway router of trench-a: BIRD if it is installed.
func (d *demo) startRouter(ctx context.Context) error {
	start := time.Now()
	kind, what := cluster.Own, "a router runs outside trench-a: weft's own speaker, as BIRD is not installed"
	if router.HasBIRD() {
		kind, what = cluster.BIRD, "a router runs outside trench-a: BIRD"
	}
	for _, g := range d.a.Gateways {
		if err := g.Start(ctx, cluster.GatewayOptions{
			Kind: kind, Replicas: maxReplicas, Interval: bfdInterval, Multiplier: bfdMultiplier, Dir: dir,
		}); err != nil {
			return err
		}
	}
	d.took(start, "%s; BGP, and BFD with %d x %d ms", what, bfdMultiplier, bfdInterval.Milliseconds())
	return nil
}

func (d *demo) stopRouter() error {
	if d.a == nil {
		return nil
	}
	var errs []error
	for _, g := range d.a.Gateways {
		errs = append(errs, g.Close())
	}
	return errors.Join(errs...)
}

// routed waits until the router of trench-a has learned the VIPs from exactly
// these replicas.
func (d *demo) routed(ctx context.Context, replicas ...byte) error {
	ctx, cancel := context.WithTimeout(ctx, sessionPatience)
	defer cancel()
	return d.a.AwaitRoutes(ctx, vips, replicas...)
}

// cutLink is the step in which a replica loses its link.
func (d *demo) cutLink(ctx context.Context) error {
	d.step("The link between load balancer lb-a-2 and the router is cut, in such a way that only BFD can see it")
	d.begin()
	if err := d.a.Cut(2); err != nil {
		return err
	}
	if err := d.routed(ctx, 1); err != nil {
		return err
	}
	d.took(d.changeMoment, "the router sends everything to lb-a-1")
	w, err := d.observe(ctx)
	if err != nil {
		return err
	}
	d.blackout(w, d.changeMoment, detected, "all traffic by lb-a-1: last packet lost", "the cut")
	d.healed(w)
	d.say("-- the link is back")
	d.begin()
	if err := d.a.Mend(2); err != nil {
		return err
	}
	if err := d.routed(ctx, 1, 2); err != nil {
		return err
	}
	d.took(d.changeMoment, "the router uses both load balancers again")
	if w, err = d.observe(ctx); err != nil {
		return err
	}
	// A router may use the way back before the other side has its own.
	d.check(float64(w.Lost) <= w.Rate, "%d of %d packets lost when it came back (limit: those of one second)", w.Lost, w.Sent)
	d.healed(w)
	return nil
}

// healed checks what a lost link must not do.
func (d *demo) healed(w traffic.Window) {
	after := d.pool.Settle(tcpConns)
	broken := after.Broken - d.poolBefore.Broken
	d.check(w.MovedFlows == 0, "UDP: %d packets at %.0f/s, %d of %d flows moved to another target", w.Sent, w.Rate, w.MovedFlows, udpFlows)
	d.check(broken == 0 && after.Open == tcpConns, "TCP: %d of %d connections broken", broken, tcpConns)
}
