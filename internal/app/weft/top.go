// SPDX-License-Identifier: Apache-2.0

package weft

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-project/weft/internal/cli"
	balancerv1 "github.com/weft-project/weft/pkg/api/balancer/v1"
)

// topOptions are the flags of top.
type topOptions struct {
	replica    string
	interval   time.Duration
	iterations int
	rows       int
}

// minInterval keeps top from being a load itself.
const minInterval = time.Millisecond

func (a *app) topCommand() *cobra.Command {
	var o topOptions
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Show the traffic of flows, streams and targets as it is now",
		Long: `Show how many packets and bits per second flows, streams and targets have, and why
packets are dropped, the busiest first, until it is interrupted. Rates are those of
the last interval, totals count since a flow, stream or target was set. Bits count
from the Ethernet header on. On a terminal the screen is redrawn; with -o json
every interval is a line.`,
		Example: `  weft top
  weft top --replica lb-1 --interval 5s
  weft top -n 1 -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case o.interval < minInterval:
				return cli.Usagef("--interval %s is shorter than %s", o.interval, minInterval)
			case o.iterations < 0:
				return cli.Usagef("--iterations %d is negative", o.iterations)
			case o.rows < 0:
				return cli.Usagef("--rows %d is negative", o.rows)
			}
			return a.top(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.DurationVar(&o.interval, "interval", time.Second, "time between two looks")
	f.IntVarP(&o.iterations, "iterations", "n", 0, "end after so many intervals, 0 is never")
	f.IntVar(&o.rows, "rows", 20, "lines of each table at most, 0 is all (not for json and yaml, which have all)")
	a.replicaFlag(cmd, &o.replica, "only this load balancer")
	a.outputFlag(cmd)
	return cmd
}

func (a *app) top(ctx context.Context, o topOptions) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	return a.withBalancer(ctx, func(ctx context.Context, client balancerv1.BalancerClient) error {
		look := func() (*balancerv1.StatisticsResponse, error) {
			ctx, cancel := a.call(ctx)
			defer cancel()
			return client.Statistics(ctx, &balancerv1.StatisticsRequest{Replica: o.replica})
		}
		before, err := look()
		if err != nil {
			return err
		}
		ticker := time.NewTicker(o.interval)
		defer ticker.Stop()
		for n := 0; o.iterations == 0 || n < o.iterations; n++ {
			select {
			case <-ctx.Done():
				return nil
			case <-ticker.C:
			}
			now, err := look()
			if ctx.Err() != nil {
				return nil // interrupted while looking
			}
			if err != nil {
				return err
			}
			if err := a.printTop(rates(before, now), o.rows, n == 0); err != nil {
				return err
			}
			before = now
		}
		return nil
	})
}

// topView is one interval.
type topView struct {
	Time     time.Time    `json:"time"`
	Seconds  float64      `json:"seconds"` // that the rates are of
	Replicas []topReplica `json:"replicas"`
}

type topReplica struct {
	Replica       string     `json:"replica"`
	Reasons       []topLine  `json:"reasons"`
	Flows         []topLine  `json:"flows"`
	Streams       []topLine  `json:"streams"`
	Targets       []topLine  `json:"targets"`
	SlowPath      []topEvent `json:"slow-path"`
	FragmentsHeld uint64     `json:"fragments-held"`
}

// topLine is the traffic of one thing. Reasons have no bits.
type topLine struct {
	Name          string   `json:"name"`
	Stream        string   `json:"stream,omitempty"` // of a flow
	Drop          bool     `json:"drop,omitempty"`   // of a reason
	PacketsPerSec float64  `json:"packets-per-second"`
	BitsPerSec    *float64 `json:"bits-per-second,omitempty"`
	Packets       uint64   `json:"packets"`
	Bytes         *uint64  `json:"bytes,omitempty"`
}

type topEvent struct {
	Event  string  `json:"event"`
	PerSec float64 `json:"per-second"`
	Count  uint64  `json:"count"`
}

// rates compares two looks. What is new, or counts from zero again, is compared
// with zero.
func rates(before, now *balancerv1.StatisticsResponse) topView {
	v := topView{Time: now.GetTime().AsTime(), Replicas: []topReplica{}}
	v.Seconds = v.Time.Sub(before.GetTime().AsTime()).Seconds()
	per := func(before, now uint64) float64 {
		if now < before {
			before = 0
		}
		if v.Seconds <= 0 {
			return 0
		}
		return float64(now-before) / v.Seconds
	}
	old := map[string]*balancerv1.ReplicaStatistics{}
	for _, r := range before.GetReplicas() {
		old[r.GetReplica()] = r
	}
	for _, r := range now.GetReplicas() {
		o := old[r.GetReplica()]
		t := topReplica{
			Replica: r.GetReplica(), FragmentsHeld: r.GetFragmentsHeld(),
			Flows: traffic(o.GetFlows(), r.GetFlows(), per), Streams: traffic(o.GetStreams(), r.GetStreams(), per),
			Targets: traffic(o.GetTargets(), r.GetTargets(), per), Reasons: reasons(o.GetReasons(), r.GetReasons(), per),
		}
		events := map[string]uint64{}
		for _, e := range o.GetSlowPath() {
			events[e.GetEvent()] = e.GetCount()
		}
		for _, e := range r.GetSlowPath() {
			t.SlowPath = append(t.SlowPath, topEvent{e.GetEvent(), per(events[e.GetEvent()], e.GetCount()), e.GetCount()})
		}
		v.Replicas = append(v.Replicas, t)
	}
	return v
}

type rate = func(before, now uint64) float64

func traffic(before, now []*balancerv1.TrafficCounter, per rate) []topLine {
	type key struct{ name, stream string }
	old := make(map[key]*balancerv1.TrafficCounter, len(before))
	for _, c := range before {
		old[key{c.GetName(), c.GetStream()}] = c
	}
	lines := []topLine{}
	for _, c := range now {
		o := old[key{c.GetName(), c.GetStream()}]
		bits, bytes := 8*per(o.GetBytes(), c.GetBytes()), c.GetBytes()
		lines = append(lines, topLine{
			Name: c.GetName(), Stream: c.GetStream(), PacketsPerSec: per(o.GetPackets(), c.GetPackets()),
			BitsPerSec: &bits, Packets: c.GetPackets(), Bytes: &bytes,
		})
	}
	return busiest(lines)
}

func reasons(before, now []*balancerv1.ReasonCounter, per rate) []topLine {
	old := make(map[string]uint64, len(before))
	for _, c := range before {
		old[c.GetReason()] = c.GetPackets()
	}
	lines := []topLine{}
	for _, c := range now {
		lines = append(lines, topLine{
			Name: c.GetReason(), Drop: c.GetDrop(), PacketsPerSec: per(old[c.GetReason()], c.GetPackets()), Packets: c.GetPackets(),
		})
	}
	return busiest(lines)
}

// busiest sorts by rate, then by total, then by name.
func busiest(lines []topLine) []topLine {
	slices.SortStableFunc(lines, func(a, b topLine) int {
		return cmp.Or(cmp.Compare(b.PacketsPerSec, a.PacketsPerSec), cmp.Compare(b.Packets, a.Packets), cmp.Compare(a.Name, b.Name))
	})
	return lines
}

// quantity renders a rate in three digits and a unit of 1000.
func quantity(v float64) string {
	for _, unit := range []string{"", "k", "M", "G"} {
		switch {
		case v < 9.995:
			return fmt.Sprintf("%.2f%s", v, unit)
		case v < 99.95:
			return fmt.Sprintf("%.1f%s", v, unit)
		case v < 999.5:
			return fmt.Sprintf("%.0f%s", v, unit)
		}
		v /= 1000
	}
	return fmt.Sprintf("%.3gT", v)
}
