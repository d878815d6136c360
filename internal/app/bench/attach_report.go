// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"io"
	"time"

	"github.com/weft-project/weft/internal/cli"
	"github.com/weft-project/weft/internal/plot"
)

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func mebibytes(bytes int64) cli.Cell { return cli.Textf("%.1f MiB", float64(bytes)/(1<<20)) }

// kinds are the two kinds of legs of a level.
func (l *attachLevel) kinds() map[string]attachTimes {
	out := map[string]attachTimes{"local": l.Local}
	if l.Remote != nil {
		out["remote"] = *l.Remote
	}
	return out
}

// print writes the tables for people.
func (r *attachReport) print(w io.Writer) error {
	p := &printer{w: w}
	p.line("One more attachment on one of %d nodes, %d times, one at a time: until it is ready, until it is gone", r.Options.Nodes, r.Options.Samples)
	t := cli.Table{Header: []string{"EXISTING", "LEG", "ATTACH-P50", "ATTACH-P99", "DETACH-P50", "DETACH-P99"}}
	cell := func(d time.Duration) cli.Cell { return cli.Textf("%.1f ms", milliseconds(d)) }
	for _, level := range r.Levels {
		for _, leg := range []string{"local", "remote"} {
			if times, ok := level.kinds()[leg]; ok {
				t.Add(cli.Textf("%d", level.Existing), cli.Text(leg), cell(times.Attach.P50), cell(times.Attach.P99),
					cell(times.Detach.P50), cell(times.Detach.P99))
			}
		}
	}
	p.table(t)
	if len(r.AttachRates) > 0 {
		p.line("\n%d at a time", r.Options.Parallel)
		t = cli.Table{Header: []string{"ATTACHMENTS", "PER-SECOND"}}
		for _, rate := range r.AttachRates {
			t.Add(cli.Textf("%d to %d", rate.From, rate.To), cli.Textf("%.0f", rate.PerSecond))
		}
		last := r.AttachRates[len(r.AttachRates)-1].To
		t.Add(cli.Textf("%d to 0", last), cli.Textf("%.0f", r.DetachRate))
		p.table(t)
	}
	for _, level := range r.Levels {
		p.line("\nNothing happens for %s, %d attachments", r.Options.Idle, level.Existing)
		t = cli.Table{Header: []string{"PROCESS", "MILLI-CPU", "RSS", "ANONYMOUS", "DESCRIPTORS", "THREADS"}}
		for _, u := range level.Processes {
			t.Add(cli.Text(u.Name), cli.Textf("%.0f", u.MilliCPU), mebibytes(u.RSS), mebibytes(u.Anonymous),
				cli.Textf("%d", u.Descriptors), cli.Textf("%d", u.Threads))
		}
		p.table(t)
	}
	return p.err
}

// draw writes attach and detach beside each other.
func (r *attachReport) draw(w io.Writer) error {
	return plot.Write(w,
		r.chart("One more attachment until it is ready", func(t attachTimes) quantiles { return t.Attach }),
		r.chart("One attachment until it is gone", func(t attachTimes) quantiles { return t.Detach }))
}

func (r *attachReport) chart(title string, of func(attachTimes) quantiles) plot.Chart {
	c := plot.Chart{Title: title}
	most, highest := 0.0, 0.0
	for color, leg := range []string{"local", "remote"} {
		p50 := plot.Series{Name: fmt.Sprintf("%s leg, median", leg), Color: color}
		p99 := plot.Series{Name: fmt.Sprintf("%s leg, 99th percentile", leg), Color: color, Dashed: true}
		for _, level := range r.Levels {
			times, ok := level.kinds()[leg]
			if !ok {
				continue
			}
			x, q := float64(level.Existing), of(times)
			p50.Points = append(p50.Points, plot.Point{X: x, Y: milliseconds(q.P50)})
			p99.Points = append(p99.Points, plot.Point{X: x, Y: milliseconds(q.P99)})
			most, highest = max(most, x), max(highest, milliseconds(q.P99))
		}
		if len(p50.Points) > 0 {
			c.Series = append(c.Series, p50, p99)
		}
	}
	c.X = plot.Axis{Label: "attachments that exist", Ticks: ticks(most)}
	c.Y = plot.Axis{Label: "time", Ticks: ticks(highest), Unit: " ms"}
	return c
}
