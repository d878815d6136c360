// SPDX-License-Identifier: Apache-2.0

package weft

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/grpc"

	"github.com/weft-project/weft/internal/cli"
	nodev1 "github.com/weft-project/weft/pkg/api/node/v1"
)

// findingView is a finding for programs.
type findingView struct {
	Kind     string `json:"kind"`
	Severity string `json:"severity"`
	Object   string `json:"object"`
	Wanted   string `json:"wanted,omitempty"`
	Recorded string `json:"recorded,omitempty"`
	Actual   string `json:"actual,omitempty"`
	Repaired bool   `json:"repaired"`
	Message  string `json:"message"`
}

// checkNode compares the node; an error says that differences remain.
func (a *app) checkNode(ctx context.Context, repair bool) error {
	return a.withConn(ctx, AdminSocket, func(ctx context.Context, conn *grpc.ClientConn) error {
		ctx, cancel := a.call(ctx)
		defer cancel()
		response, err := nodev1.NewNodeClient(conn).Check(ctx, &nodev1.CheckRequest{Repair: repair})
		if err != nil {
			return err
		}
		remain := 0
		views := []findingView{}
		for _, f := range response.GetFindings() {
			if !f.GetRepaired() && f.GetSeverity() != nodev1.Finding_NOTE {
				remain++
			}
			views = append(views, findingView{
				Kind: f.GetKind(), Severity: strings.ToLower(f.GetSeverity().String()), Object: f.GetObject(), Wanted: f.GetWanted(),
				Recorded: f.GetRecorded(), Actual: f.GetActual(), Repaired: f.GetRepaired(), Message: f.GetMessage(),
			})
		}
		if err := a.printFindings(views); err != nil {
			return err
		}
		switch {
		case remain == 0:
			return nil
		case repair:
			return fmt.Errorf("not repaired: %s", differences(remain))
		}
		return fmt.Errorf("%s; --repair mends what can be mended", differences(remain))
	})
}

func differences(n int) string {
	if n == 1 {
		return "1 difference"
	}
	return fmt.Sprintf("%d differences", n)
}

func (a *app) printFindings(views []findingView) error {
	switch {
	case !a.format.Human():
		return a.format.Write(a.env.Stdout, map[string]any{"findings": views})
	case len(views) == 0:
		_, err := fmt.Fprintln(a.env.Stdout, "no differences")
		return err
	}
	table := cli.Table{Header: []string{"SEVERITY", "OBJECT", "KIND", "REPAIRED", "MESSAGE"}}
	if a.format == cli.FormatWide {
		table.Header = append(table.Header, "WANTED", "RECORDED", "ACTUAL")
	}
	for _, v := range views {
		repaired := "no"
		if v.Repaired {
			repaired = "yes"
		}
		row := []cli.Cell{cli.Text(v.Severity), cli.Text(v.Object), cli.Text(v.Kind), cli.Text(repaired), cli.Text(v.Message)}
		if a.format == cli.FormatWide {
			row = append(row, cli.Text(v.Wanted), cli.Text(v.Recorded), cli.Text(v.Actual))
		}
		table.Add(row...)
	}
	return table.Print(a.env.Stdout, a.env.Color())
}
