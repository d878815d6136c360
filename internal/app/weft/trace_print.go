// SPDX-License-Identifier: Apache-2.0

package weft

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/weft-project/weft/internal/cli"
)

// printTrace prints a trace and fails if rules and program disagree in it.
func (a *app) printTrace(v traceView) error {
	if err := a.writeTrace(v); err != nil {
		return err
	}
	wrong := 0
	for _, d := range v.Decisions {
		if len(d.Disagreements) > 0 {
			wrong++
		}
	}
	if wrong > 0 {
		return fmt.Errorf("rules and program disagree about %d of %d packets: this is a bug, please report it with the output of -o json", wrong, len(v.Decisions))
	}
	return nil
}

func (a *app) writeTrace(v traceView) error {
	if !a.format.Human() {
		return a.format.Write(a.env.Stdout, v)
	}
	r := v.Replica
	vlan := ""
	if r.VLAN > 0 {
		vlan = fmt.Sprintf(", VLAN %d", r.VLAN)
	}
	p := tracePrinter{app: a}
	p.line("replica", "%s (%s.%s on %s%s, %s)", r.Name, r.Conduit, r.Trench, r.Interface, vlan, r.Mode)
	for i, d := range v.Decisions {
		if i > 0 {
			p.b.WriteByte('\n')
		}
		if err := p.decision(d); err != nil {
			return err
		}
	}
	_, err := fmt.Fprint(a.env.Stdout, p.b.String())
	return err
}

// tracePrinter collects the lines of a trace.
type tracePrinter struct {
	app *app
	b   strings.Builder
}

func (p *tracePrinter) line(label, format string, args ...any) {
	fmt.Fprintf(&p.b, "%-9s "+format+"\n", append([]any{label}, args...)...)
}

func (p *tracePrinter) decision(d decisionView) error {
	if d.Frame > 0 {
		p.line("frame", "%d", d.Frame)
	}
	p.line("packet", "%s", d.Packet)
	if d.VIP != "" {
		p.line("vip", "%s", d.VIP)
	}
	if err := p.mismatches(d); err != nil {
		return err
	}
	if d.Flow != nil {
		p.line("flow", "%s (priority %d)", d.Flow.Name, d.Flow.Priority)
	}
	if d.Stream != "" {
		p.line("stream", "%s", d.Stream)
	}
	if d.Slot != nil {
		p.line("slot", "%d of %d", d.Slot.Number, d.Slot.Size)
	}
	if d.Target != nil {
		p.line("target", "%s", d.Target.Name)
		if d.Target.Interface != "" {
			p.line("leg", "%s to %s", d.Target.Interface, d.Target.MAC)
		}
	}
	if d.Translation != nil {
		p.line("port", "%d becomes %d", d.Translation.From, d.Translation.To)
	}
	style := map[string]cli.Style{"sent": cli.Good, "dropped": cli.Bad, "slow-path": cli.Pending}[d.Action]
	p.line("decision", "%s", style.Paint(d.Action+": "+d.Reason, p.app.env.Color()))
	p.line("", "%s", d.Meaning)
	if d.Action != "sent" {
		p.line("", "%s", d.Advice)
	}
	if d.Rewritten != nil {
		p.line("leaves as", "%s", d.Rewritten)
		p.line("", "MAC %s > %s", d.Rewritten.SourceMAC, d.Rewritten.DestinationMAC)
	}
	for _, n := range d.Notes {
		p.line("note", "%s", n)
	}
	for _, w := range d.Disagreements {
		p.line("BUG", "%s", cli.Bad.Paint("RULES AND PROGRAM DISAGREE: "+w, p.app.env.Color()))
	}
	if p.app.format == cli.FormatWide && d.RewrittenFrame != "" {
		frame, err := hex.DecodeString(d.RewrittenFrame)
		if err != nil {
			return err
		}
		p.b.WriteString(hex.Dump(frame))
	}
	return nil
}

func (p *tracePrinter) mismatches(d decisionView) error {
	if len(d.Mismatches) == 0 {
		return nil
	}
	p.line("no match", "flows that come first, and the first field that differs:")
	t := cli.Table{Header: []string{"  PRIORITY", "FLOW", "STREAM", "FIELD", "WHY"}}
	for _, m := range d.Mismatches {
		t.Add(cli.Textf("  %d", m.Priority), cli.Text(m.Flow), cli.Text(m.Stream), cli.Text(m.Field), cli.Text(m.Reason))
	}
	if err := t.Print(&p.b, false); err != nil {
		return err
	}
	if d.MismatchesLeftOut > 0 {
		fmt.Fprintf(&p.b, "  ... and %d more (--all)\n", d.MismatchesLeftOut)
	}
	return nil
}
