// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"io"

	"github.com/weft-project/weft/internal/cli"
)

// print writes the table for people.
func (r *convergenceReport) print(w io.Writer) error {
	p := &printer{w: w}
	p.line("Two load balancers, two gateways, BFD %d x %s, %d packets/s; load of the machine %s before, %s after",
		r.Options.Multiplier, r.Options.Interval, r.Options.Rate, r.LoadBefore, r.LoadAfter)
	t := cli.Table{Header: []string{"GATEWAY", "FAULT", "SENT", "LOST", "LAST-LOST", "ROUTES-CHANGED"}}
	for _, f := range r.Faults {
		lost, moved := cli.Text("-"), cli.Text("never")
		if f.Lost > 0 {
			lost = cli.Textf("%.0f ms", milliseconds(f.LastLost))
		}
		if f.Moved != nil {
			moved = cli.Textf("%.0f ms", milliseconds(*f.Moved))
		}
		t.Add(cli.Text(f.Gateway), cli.Text(f.Fault), cli.Textf("%d", f.Sent), cli.Textf("%d", f.Lost), lost, moved)
	}
	p.table(t)
	return p.err
}
