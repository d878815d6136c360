// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-project/weft/internal/cli"
	"github.com/weft-project/weft/internal/cluster"
	"github.com/weft-project/weft/internal/router"
)

// convergenceOptions are what `weft bench convergence` measures.
type convergenceOptions struct {
	Gateways   []string      `json:"gateways"`
	Interval   time.Duration `json:"bfd-interval-ns"`
	Multiplier uint8         `json:"bfd-multiplier"`
	Rate       int           `json:"packets-per-second"`
	Packets    int           `json:"packets"`
	// binary has the hidden commands of internal/cluster; "": this process's own.
	binary string
}

func convergenceCommand() *cobra.Command {
	var options convergenceOptions
	format := cli.FormatTable
	cmd := &cobra.Command{
		Use:   "convergence",
		Short: "Measure what is lost when links, gateways, endpoints and targets fail",
		Long: `Measure what is lost when links, gateways, endpoints and targets fail. Needs root,
and BIRD or FRR as gateways; nodes, gateways and clients are network namespaces.

Two load balancers announce VIPs by BGP to two gateways, BFD watches. Clients behind
the gateways send numbered packets at a fixed rate, which a workload answers. Each
fault is made once: how many packets were lost, when the last one of them was sent,
and when the routers had changed their routes.`,
		Example: `  weft bench convergence
  weft bench convergence --gateways bird --bfd-interval 10ms -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := options.validate(); err != nil {
				return err
			}
			if os.Geteuid() != 0 {
				return fmt.Errorf("bench convergence makes network namespaces and needs root")
			}
			// Namespaces and processes have to go, whoever ends it.
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			report, err := measureConvergence(ctx, options)
			if err != nil {
				return err
			}
			if format.Human() {
				return report.print(cmd.OutOrStdout())
			}
			return format.Write(cmd.OutOrStdout(), report)
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&options.Gateways, "gateways", installed(), "what the gateways run: bird, frr")
	flags.DurationVar(&options.Interval, "bfd-interval", 50*time.Millisecond, "interval of BFD packets")
	flags.Uint8Var(&options.Multiplier, "bfd-multiplier", 3, "how many of them may be lost")
	flags.IntVar(&options.Rate, "rate", 2000, "packets per second")
	flags.IntVar(&options.Packets, "packets", 6000, "how many to send from each fault on")
	flags.VarP(&format, "output", "o", "output format: table, json, yaml")
	return cmd
}

// installed are the routers that this machine has.
func installed() (names []string) {
	if router.HasBIRD() {
		names = append(names, "bird")
	}
	if router.HasFRR() {
		names = append(names, "frr")
	}
	return names
}

func (o *convergenceOptions) validate() error {
	if len(o.Gateways) == 0 {
		return fmt.Errorf("neither BIRD nor FRR is installed: bench convergence needs one as gateway")
	}
	for _, name := range o.Gateways {
		if _, err := gatewayKind(name); err != nil {
			return err
		}
		if !slices.Contains(installed(), strings.ToLower(name)) {
			return cli.Usagef("--gateways: %s is not installed", name)
		}
	}
	if o.Interval < 10*time.Millisecond || o.Interval > 10*time.Second || o.Interval%time.Millisecond != 0 {
		return cli.Usagef("--bfd-interval: %s is not within 10ms and 10s, in whole milliseconds", o.Interval)
	}
	if o.Multiplier < 2 {
		return cli.Usagef("--bfd-multiplier: %d is less than 2", o.Multiplier)
	}
	if o.Rate < 100 || o.Rate > 50000 || o.Packets < 100 {
		return cli.Usagef("--rate must be within 100 and 50000, and --packets at least 100")
	}
	return nil
}

func gatewayKind(name string) (cluster.Kind, error) {
	switch strings.ToLower(name) {
	case "bird":
		return cluster.BIRD, nil
	case "frr":
		return cluster.FRR, nil
	}
	return "", cli.Usagef("--gateways: %q is neither bird nor frr", name)
}
