// SPDX-License-Identifier: Apache-2.0

package weft

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weft-project/weft/internal/cli"
	frontendv1 "github.com/weft-project/weft/pkg/api/frontend/v1"
)

// printFrontendTables prints, for each replica, its gateways, its routes and its
// announcements.
func (a *app) printFrontendTables(resp *frontendv1.ShowResponse) error {
	if len(resp.GetFrontends()) == 0 {
		_, err := fmt.Fprintln(a.env.Stderr, "no load balancer is served here")
		return err
	}
	wide, now := a.format == cli.FormatWide, resp.GetTime().AsTime()
	for i, f := range resp.GetFrontends() {
		if i > 0 {
			fmt.Fprintln(a.env.Stdout)
		}
		attractor := f.GetAttractor()
		if attractor == "" {
			attractor = "none"
		}
		fmt.Fprintf(a.env.Stdout, "Replica %s, attractor %s, interface %s\n", f.GetReplica(), attractor, f.GetInterface())
		if p := f.GetStatus().GetProblem(); p != "" {
			fmt.Fprintln(a.env.Stdout, cli.Bad.Paint("problem: "+p, a.env.Color()))
		}
		for _, t := range []*cli.Table{gatewayTable(f, now, wide), routeTable(f), announcementTable(f, now, wide)} {
			if len(t.Rows) == 0 {
				continue
			}
			fmt.Fprintln(a.env.Stdout)
			if err := t.Print(a.env.Stdout, a.env.Color()); err != nil {
				return err
			}
		}
	}
	return nil
}

func gatewayTable(f *frontendv1.State, now time.Time, wide bool) *cli.Table {
	t := &cli.Table{Header: []string{"GATEWAY", "ADDRESS", "UP", "BGP", "FOR", "BFD", "FOR"}}
	if wide {
		t.Header = append(t.Header, "HOLD", "DETECTION", "FLAPS", "RECEIVED", "ANNOUNCED")
	}
	t.Header = append(t.Header, "LAST ERROR")
	for _, g := range f.GetStatus().GetGateways() {
		up := cli.Cell{Text: "no", Style: cli.Bad}
		if g.GetUp() {
			up = cli.Cell{Text: "yes", Style: cli.Good}
		}
		bgp, bfd := g.GetBgp(), g.GetBfd()
		row := []cli.Cell{cli.Text(g.GetName()), cli.Text(g.GetAddress()), up,
			cli.Text(bgp.GetState()), age(bgp.GetSince(), now), cli.Text(bfd.GetState()), age(bfd.GetSince(), now)}
		if wide {
			row = append(row, gatewayDetails(bgp, bfd)...)
		}
		t.Add(append(row, cli.Text(lastError(g)))...)
	}
	return t
}

func gatewayDetails(bgp *frontendv1.BGP, bfd *frontendv1.BFD) []cli.Cell {
	hold, detection, received, announced := "", "", "", ""
	if bgp != nil {
		hold = bgp.GetHoldTime().AsDuration().String()
		received, announced = fmt.Sprint(bgp.GetReceived()), strings.Join(bgp.GetAnnounced(), ",")
		if n := bgp.GetRefused(); n > 0 {
			received += fmt.Sprintf(" (%d refused: %s)", n, bgp.GetRefusal())
		}
	}
	if bfd != nil {
		detection = bfd.GetDetectionTime().AsDuration().String()
	}
	return []cli.Cell{cli.Text(hold), cli.Text(detection), cli.Textf("%d/%d", bgp.GetFlaps(), bfd.GetFlaps()), cli.Text(received), cli.Text(announced)}
}

// lastError is why a gateway is not up, or else what its sessions last failed of.
func lastError(g *frontendv1.Gateway) string {
	for _, why := range []string{g.GetReason(), g.GetBgp().GetLastError(), g.GetBfd().GetLastError()} {
		if why != "" {
			return why
		}
	}
	return ""
}

func routeTable(f *frontendv1.State) *cli.Table {
	t := &cli.Table{Header: []string{"ROUTE", "NEXT HOPS", "FROM"}}
	for _, r := range f.GetStatus().GetRoutes() {
		t.Add(cli.Text(r.GetPrefix()), cli.List(r.GetNextHops()), cli.List(r.GetGateways()))
	}
	return t
}

func announcementTable(f *frontendv1.State, now time.Time, wide bool) *cli.Table {
	t := &cli.Table{Header: []string{"VIP", "ANNOUNCED", "FOR", "REASON", "MESSAGE"}}
	if wide {
		t.Header = append(t.Header, "GATEWAYS")
	}
	for _, v := range f.GetAnnouncements() {
		announced := cli.Cell{Text: "no", Style: cli.Bad}
		if v.GetAnnounced() {
			announced = cli.Cell{Text: "yes", Style: cli.Good}
		}
		row := []cli.Cell{cli.Text(v.GetVip()), announced, age(v.GetSince(), now), cli.Text(v.GetReason()), cli.Text(v.GetMessage())}
		if wide {
			row = append(row, cli.List(v.GetGateways()))
		}
		t.Add(row...)
	}
	return t
}

// age is how long something has been so.
func age(since *timestamppb.Timestamp, now time.Time) cli.Cell {
	if since == nil || since.AsTime().Unix() <= 0 {
		return cli.Text("")
	}
	return cli.Text(max(now.Sub(since.AsTime()), 0).Truncate(time.Second).String())
}
