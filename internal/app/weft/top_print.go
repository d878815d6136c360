// SPDX-License-Identifier: Apache-2.0

package weft

import (
	"fmt"
	"strings"

	"github.com/weft-project/weft/internal/cli"
)

// redraw moves to the upper left corner and clears from there on.
const redraw = "\x1b[H\x1b[J"

func (a *app) printTop(v topView, rows int, first bool) error {
	if !a.format.Human() {
		return a.format.WriteEvent(a.env.Stdout, v)
	}
	var b strings.Builder
	switch {
	case a.env.Terminal && a.env.Getenv("TERM") != "dumb":
		b.WriteString(redraw)
	case !first:
		b.WriteByte('\n')
	}
	if len(v.Replicas) == 0 {
		b.WriteString("no load balancer is served here\n")
	}
	for i, r := range v.Replicas {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%s  %s\n", v.Time.In(a.env.Now().Location()).Format("15:04:05"), r.Replica)
		for _, t := range []struct {
			what  string
			lines []topLine
		}{{"FLOW", r.Flows}, {"STREAM", r.Streams}, {"TARGET", r.Targets}, {"REASON", r.Reasons}} {
			if err := a.printTopTable(&b, t.what, t.lines, rows); err != nil {
				return err
			}
		}
		if err := printSlowPath(&b, r); err != nil {
			return err
		}
	}
	_, err := fmt.Fprint(a.env.Stdout, b.String())
	return err
}

func (a *app) printTopTable(b *strings.Builder, what string, lines []topLine, rows int) error {
	t := cli.Table{Header: []string{what, "PACKETS/S", "BITS/S", "PACKETS", "BYTES"}}
	switch what {
	case "FLOW":
		t.Header = append(t.Header, "STREAM")
	case "REASON":
		t.Header = []string{what, "PACKETS/S", "PACKETS"}
	}
	left := 0
	for _, l := range lines {
		if what == "REASON" && l.Packets == 0 {
			continue
		}
		if rows > 0 && len(t.Rows) == rows {
			left++
			continue
		}
		name := cli.Text(l.Name)
		if l.Drop && l.PacketsPerSec > 0 {
			name.Style = cli.Bad
		}
		row := []cli.Cell{name, cli.Text(quantity(l.PacketsPerSec))}
		if l.BitsPerSec != nil {
			row = append(row, cli.Text(quantity(*l.BitsPerSec)))
		}
		row = append(row, cli.Textf("%d", l.Packets))
		if l.Bytes != nil {
			row = append(row, cli.Textf("%d", *l.Bytes))
		}
		if what == "FLOW" {
			row = append(row, cli.Text(l.Stream))
		}
		t.Add(row...)
	}
	b.WriteByte('\n')
	if err := t.Print(b, a.env.Color()); err != nil {
		return err
	}
	if left > 0 {
		fmt.Fprintf(b, "... and %d more (--rows)\n", left)
	}
	return nil
}

// printSlowPath prints what has happened there, if something has.
func printSlowPath(b *strings.Builder, r topReplica) error {
	t := cli.Table{Header: []string{"SLOW PATH", "EVENTS/S", "EVENTS"}}
	for _, e := range r.SlowPath {
		if e.Count > 0 {
			t.Add(cli.Text(e.Event), cli.Text(quantity(e.PerSec)), cli.Textf("%d", e.Count))
		}
	}
	if r.FragmentsHeld > 0 {
		t.Add(cli.Text("fragments held now"), cli.Text(""), cli.Textf("%d", r.FragmentsHeld))
	}
	if len(t.Rows) == 0 {
		return nil
	}
	b.WriteByte('\n')
	return t.Print(b, false)
}
