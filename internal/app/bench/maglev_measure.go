// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/weft-project/weft/internal/maglev"
)

// maglevReport is the outcome of `weft bench maglev`. Shares are of 1.
type maglevReport struct {
	Seed uint64 `json:"seed"`
	// Leaving is about one target that leaves.
	Leaving []leaving `json:"leaving"`
	// Failing is about several of 1000 that leave at once.
	Failing []failing `json:"failing,omitempty"`
	Paper   paper     `json:"paper"`
}

type leaving struct {
	Size    uint `json:"size"`
	Targets int  `json:"targets"`
	Leavers int  `json:"leavers"`
	// Mean and Max are shares of the slots that the others had.
	Mean float64 `json:"moved-mean"`
	Max  float64 `json:"moved-max"`
	// Imbalance is how much more than the mean the target with most slots has.
	Imbalance float64 `json:"imbalance"`
	// Build is the median time to build the table with all targets.
	Build time.Duration `json:"build-ns"`
}

type failing struct {
	Size   uint `json:"size"`
	Failed int  `json:"failed"`
	Rounds int  `json:"rounds"`
	// Changed is the share of all slots that changed hands, Due that of the
	// slots that had to: those of the targets that left.
	Changed float64 `json:"changed"`
	Due     float64 `json:"due"`
}

// paper is what the Maglev paper states in words about the same questions. The
// curve of its figure 12 is a drawing without numbers.
type paper struct {
	Title     string   `json:"title"`
	Statement []string `json:"statements"`
}

var thePaper = paper{
	Title: "Eisenbud et al., Maglev: A Fast and Reliable Software Network Load Balancer, NSDI 2016",
	Statement: []string{
		"section 3.4: in practice a table is larger than 100 times the number of backends, so that shares differ by at most 1 %",
		"figure 12: of 1000 backends k fail at random, 200 times for each k, average share of changed table entries; a curve, no numbers",
		"section 5.3: the share of changed entries grows with the number of concurrent failures and is smaller in larger tables",
		"section 5.3: building a table takes 1.8 ms at 65537 slots and 22.9 ms at 655373",
		"section 5.3: with 1000 backends, Karger's and Rendezvous hashing need 29.7 % and 49.5 % more capacity at 65537 slots, 10.3 % and 12.3 % at 655373",
	},
}

// measureMaglev does all experiments.
func measureMaglev(ctx context.Context, o maglevOptions) (*maglevReport, error) {
	report := &maglevReport{Seed: o.Seed, Paper: thePaper}
	for _, size := range o.Sizes {
		for _, n := range o.Targets {
			row, err := measureLeaving(ctx, uint32(size), n, o)
			if err != nil {
				return nil, err
			}
			report.Leaving = append(report.Leaving, row)
		}
	}
	for _, size := range paperSizes {
		for _, n := range o.Failed {
			row, err := measureFailing(ctx, uint32(size), n, o)
			if err != nil {
				return nil, err
			}
			report.Failing = append(report.Failing, row)
		}
	}
	return report, nil
}

// names are like those of targets: <node>/<attachment>.
func names(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("node-%d/nsm-1-%x", i%50+1, i)
	}
	return out
}

// timings is how many builds the median is of.
const timings = 7

func measureLeaving(ctx context.Context, size uint32, n int, o maglevOptions) (leaving, error) {
	row := leaving{Size: uint(size), Targets: n, Leavers: min(n, o.Leavers)}
	all := names(n)
	var before []uint16
	var times []time.Duration
	for range timings {
		began := time.Now()
		table, err := maglev.Build(size, all)
		if err != nil {
			return row, err
		}
		times, before = append(times, time.Since(began)), table
	}
	slices.Sort(times)
	row.Build = times[len(times)/2]
	row.Imbalance = imbalance(before, n)
	rnd := rand.New(rand.NewPCG(o.Seed, uint64(size)<<32|uint64(n)))
	for _, leaver := range rnd.Perm(n)[:row.Leavers] {
		if err := ctx.Err(); err != nil {
			return row, err
		}
		due, changed, err := change(size, all, before, map[int]bool{leaver: true})
		if err != nil {
			return row, err
		}
		moved := float64(changed-due) / float64(int(size)-due)
		row.Mean += moved / float64(row.Leavers)
		row.Max = max(row.Max, moved)
	}
	return row, nil
}

func measureFailing(ctx context.Context, size uint32, failed int, o maglevOptions) (failing, error) {
	row := failing{Size: uint(size), Failed: failed, Rounds: o.Rounds}
	all := names(paperTargets)
	before, err := maglev.Build(size, all)
	if err != nil {
		return row, err
	}
	rnd := rand.New(rand.NewPCG(o.Seed, uint64(size)<<32|uint64(failed)))
	for range o.Rounds {
		if err := ctx.Err(); err != nil {
			return row, err
		}
		gone := map[int]bool{}
		for _, i := range rnd.Perm(paperTargets)[:failed] {
			gone[i] = true
		}
		due, changed, err := change(size, all, before, gone)
		if err != nil {
			return row, err
		}
		row.Due += float64(due) / float64(size) / float64(o.Rounds)
		row.Changed += float64(changed) / float64(size) / float64(o.Rounds)
	}
	return row, nil
}

// change counts the slots that change hands when the targets in gone leave, and
// those of them that were theirs.
func change(size uint32, all []string, before []uint16, gone map[int]bool) (due, changed int, err error) {
	var rest []string
	var index []uint16 // of the rest in all, from 1
	for i, name := range all {
		if !gone[i] {
			rest, index = append(rest, name), append(index, uint16(i+1))
		}
	}
	after, err := maglev.Build(size, rest)
	if err != nil {
		return 0, 0, err
	}
	for i, slot := range after {
		if before[i] != index[slot-1] {
			changed++
		}
		if gone[int(before[i])-1] {
			due++
		}
	}
	return due, changed, nil
}

// imbalance is how much more than the mean the largest share of n is.
func imbalance(table []uint16, n int) float64 {
	shares := make([]int, n)
	for _, slot := range table {
		shares[slot-1]++
	}
	return float64(slices.Max(shares))*float64(n)/float64(len(table)) - 1
}
