// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/weft-project/weft/internal/cluster"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/resource/compile"
	"github.com/weft-project/weft/internal/traffic"
)

const (
	convergenceFlows = 64
	convergencePort  = 5000
	// settleLimit is for BGP sessions, which are tried again after seconds.
	settleLimit = 60 * time.Second
	servedBy    = "w1"
	servedOn    = "nsm-1"
)

var convergenceVIPs = []netip.Addr{netip.MustParseAddr("20.0.0.1"), netip.MustParseAddr("2000::1")}

// convergenceBed is two replicas behind two gateways, with one target.
type convergenceBed struct {
	*cluster.Cluster
	site     *cluster.Site
	gateway  cluster.GatewayOptions
	replicas []*cluster.Replica
	workload *cluster.Workload
	steady   *traffic.Steady
}

func newConvergenceBed(ctx context.Context, o convergenceOptions, kind cluster.Kind, graceful bool) (_ *convergenceBed, err error) {
	c, err := cluster.New(cluster.Options{
		Prefix: fmt.Sprintf("weft-conv-%d-", os.Getpid()), Binary: o.binary, LogLevel: "warn", OnStop: "remove",
	})
	if err != nil {
		return nil, err
	}
	b := &convergenceBed{Cluster: c, gateway: cluster.GatewayOptions{Kind: kind, Replicas: 2, Interval: o.Interval, Multiplier: o.Multiplier}}
	defer func() {
		if err != nil {
			c.WriteLogs(os.Stderr, 5)
			err = errors.Join(err, b.Close())
		}
	}()
	if b.site, err = cluster.NewRoutedSite(c.Namespaces, benchTrench, 1, 2); err != nil {
		return nil, err
	}
	gateways := b.site.Manifest(benchTrench, o.Interval, o.Multiplier)
	if err := c.SetManifests(slices.Concat(benchManifests(1), attractor(gateways, graceful), gateways)); err != nil {
		return nil, err
	}
	for _, g := range b.site.Gateways {
		if err := g.Start(ctx, b.gateway); err != nil {
			return nil, err
		}
	}
	for number := byte(1); number <= 2; number++ {
		r, err := c.Nodes[0].AddReplica(fmt.Sprintf("lb-%d", number), cluster.ReplicaOptions{
			Trench: benchTrench, Conduit: benchConduit(0), Site: b.site, Number: number, Pinned: true, TableSize: 4099,
		})
		if err != nil {
			return nil, err
		}
		b.replicas = append(b.replicas, r)
	}
	if err := c.Start(ctx); err != nil {
		return nil, err
	}
	if b.workload, err = c.Nodes[0].AddWorkload(ctx, servedBy, convergencePort); err != nil {
		return nil, err
	}
	if err := b.attach(ctx); err != nil {
		return nil, err
	}
	b.steady, err = traffic.StartSteady(traffic.SteadyConfig{To: b.destinations(), Flows: convergenceFlows, Rate: o.Rate, Dial: b.site.Dial()})
	return b, err
}

// attach makes the workload the target and waits until the traffic flows.
func (b *convergenceBed) attach(ctx context.Context) error {
	if _, err := b.workload.Attach(ctx, benchConduit(0)+"."+benchTrench, servedOn, benchStream(0)); err != nil {
		return err
	}
	return b.settle(ctx)
}

// settle waits until both replicas and both gateways are in use.
func (b *convergenceBed) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	if _, err := b.workload.Await(ctx, servedOn, cluster.AllLegs(2)); err != nil {
		return fmt.Errorf("wait for the target's legs: %w", err)
	}
	if err := b.site.AwaitRoutes(ctx, convergenceVIPs, 1, 2); err != nil {
		return err
	}
	for _, r := range b.replicas {
		if err := poll(ctx, func() (bool, error) { return b.answersBy(r, 2) }); err != nil {
			return fmt.Errorf("wait until %s answers by both gateways: %w", r.Name, err)
		}
	}
	return b.site.Await(ctx, b.destinations(), servedBy)
}

func (b *convergenceBed) destinations() (to []netip.AddrPort) {
	for _, vip := range convergenceVIPs {
		to = append(to, netip.AddrPortFrom(vip, convergencePort))
	}
	return to
}

// answersBy says whether a replica's default routes lead to so many gateways.
func (b *convergenceBed) answersBy(r *cluster.Replica, gateways int) (ok bool, err error) {
	err = nl.Do(r.NetNS, func(h *nl.Handle) error {
		routes, err := h.Routes(compile.Table(r.Name))
		right := 0
		for _, route := range routes {
			if route.Blackhole || route.Prefix.Bits() != 0 {
				continue
			}
			if max(1, len(route.Multipath)) == gateways {
				right++
			}
		}
		ok = right == 2 // one of each family
		return err
	})
	return ok, err
}

// poll asks every millisecond until the answer is yes.
func poll(ctx context.Context, ok func() (bool, error)) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		if yes, err := ok(); yes || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Close ends it all.
func (b *convergenceBed) Close() error {
	if b.steady != nil {
		b.steady.Stop()
	}
	err := b.Cluster.Close()
	if b.site != nil {
		for _, g := range b.site.Gateways {
			err = errors.Join(err, g.Close())
		}
	}
	return err
}

// attractor brings the VIPs and gateways of a manifest together.
func attractor(gateways []byte, graceful bool) []byte {
	restart := "60s"
	if !graceful {
		restart = "0s"
	}
	var names []string
	for line := range bytes.Lines(gateways) {
		if _, rest, ok := strings.Cut(string(line), "{name: "); ok {
			name, _, _ := strings.Cut(rest, ",")
			names = append(names, name)
		}
	}
	return fmt.Appendf(nil, `---
apiVersion: weft.dev/v1alpha1
kind: Attractor
metadata: {name: attractor, namespace: %[1]s, labels: {trench: %[1]s}}
spec:
  replicas: 2
  composites: [%[2]s]
  gateways: [%[3]s]
  vips: [v4-1, v6-1]
  graceful-restart: %[4]s
  interface: {name: ext, type: host-device, ipv4-prefix: 10.1.0.0/24, ipv6-prefix: "fd01::/64"}
`, benchTrench, benchConduit(0), strings.Join(names, ", "), restart)
}
