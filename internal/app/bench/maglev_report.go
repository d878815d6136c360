// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/weft-project/weft/internal/cli"
	"github.com/weft-project/weft/internal/plot"
)

func percent(share float64) cli.Cell { return cli.Textf("%.2f %%", 100*share) }

// print writes the tables for people.
func (r *maglevReport) print(w io.Writer) error {
	p := &printer{w: w}
	p.line("One of N targets leaves: slots of the others that change hands, mean and maximum over the leavers")
	t := cli.Table{Header: []string{"SIZE", "TARGETS", "SLOTS/TARGET", "LEAVERS", "MOVED", "AT-MOST", "IMBALANCE", "BUILD"}}
	for _, row := range r.Leaving {
		t.Add(cli.Textf("%d", row.Size), cli.Textf("%d", row.Targets), cli.Textf("%d", row.Size/uint(row.Targets)),
			cli.Textf("%d", row.Leavers), percent(row.Mean), percent(row.Max), percent(row.Imbalance),
			cli.Textf("%.2f ms", float64(row.Build)/float64(time.Millisecond)))
	}
	p.table(t)
	if len(r.Failing) > 0 {
		p.line("\nSome of %d targets leave at once (the paper's figure 12): slots that change hands, of all", paperTargets)
		t = cli.Table{Header: []string{"SIZE", "LEAVE", "ROUNDS", "CHANGED", "THEIR-OWN", "MOVED-BESIDES"}}
		for _, row := range r.Failing {
			t.Add(cli.Textf("%d", row.Size), cli.Textf("%.1f %%", 100*float64(row.Failed)/paperTargets), cli.Textf("%d", row.Rounds),
				percent(row.Changed), percent(row.Due), percent(row.Changed-row.Due))
		}
		p.table(t)
	}
	p.line("\nWhat the paper says (%s):", r.Paper.Title)
	for _, statement := range r.Paper.Statement {
		p.line("- %s", statement)
	}
	return p.err
}

// printer keeps the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

func (p *printer) table(t cli.Table) {
	if p.err == nil {
		p.err = t.Print(p.w, false)
	}
}

// draw writes both curves beside each other.
func (r *maglevReport) draw(w io.Writer) error {
	charts := []plot.Chart{r.leavingChart()}
	if len(r.Failing) > 0 {
		charts = append(charts, r.failingChart())
	}
	return plot.Write(w, charts...)
}

func (r *maglevReport) leavingChart() plot.Chart {
	c := plot.Chart{Title: "One of N targets leaves", X: plot.Axis{Label: "targets N", Log: true}}
	highest := 0.0
	var series []plot.Series
	for _, row := range r.Leaving {
		mean := fmt.Sprintf("%d slots, mean", row.Size)
		i := slices.IndexFunc(series, func(s plot.Series) bool { return s.Name == mean })
		if i < 0 {
			i = len(series)
			series = append(series, plot.Series{Name: mean, Color: i / 2},
				plot.Series{Name: fmt.Sprintf("%d slots, maximum", row.Size), Color: i / 2, Dashed: true})
		}
		x := float64(row.Targets)
		series[i].Points = append(series[i].Points, plot.Point{X: x, Y: 100 * row.Mean})
		series[i+1].Points = append(series[i+1].Points, plot.Point{X: x, Y: 100 * row.Max})
		highest = max(highest, 100*row.Max)
		if !slices.Contains(c.X.Ticks, x) {
			c.X.Ticks = append(c.X.Ticks, x)
		}
	}
	if len(c.X.Ticks) == 1 {
		c.X.Ticks = append(c.X.Ticks, 10*c.X.Ticks[0])
	}
	c.Series = series
	c.Y = plot.Axis{Label: "slots of the others that change hands", Ticks: ticks(highest), Unit: " %"}
	return c
}

func (r *maglevReport) failingChart() plot.Chart {
	c := plot.Chart{Title: fmt.Sprintf("Some of %d targets leave at once (as the paper's figure 12)", paperTargets)}
	highest, last := 0.0, 0.0
	due := plot.Series{Name: "slots of those that leave", Color: 2, Dashed: true}
	for _, size := range paperSizes {
		s := plot.Series{Name: fmt.Sprintf("%d slots", size), Color: len(c.Series)}
		for _, row := range r.Failing {
			if row.Size != size {
				continue
			}
			x := 100 * float64(row.Failed) / paperTargets
			s.Points = append(s.Points, plot.Point{X: x, Y: 100 * row.Changed})
			if size == paperSizes[0] {
				due.Points = append(due.Points, plot.Point{X: x, Y: 100 * row.Due})
			}
			highest, last = max(highest, 100*row.Changed), max(last, x)
		}
		c.Series = append(c.Series, s)
	}
	c.Series = append(c.Series, due)
	c.X = plot.Axis{Label: "targets that leave", Ticks: ticks(last), Unit: " %"}
	c.Y = plot.Axis{Label: "slots that change hands", Ticks: ticks(highest), Unit: " %"}
	return c
}

// ticks are round numbers from 0 to beyond highest.
func ticks(highest float64) []float64 {
	step := 0.01
	for i := 0; highest > 6*step; i++ {
		step *= []float64{2, 2.5, 2}[i%3] // 0.02, 0.05, 0.1, 0.2, ...
	}
	out := []float64{0}
	for i := 1; out[len(out)-1] < highest || i < 2; i++ {
		out = append(out, float64(i)*step)
	}
	return out
}
