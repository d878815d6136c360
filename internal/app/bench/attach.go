// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-project/weft/internal/cli"
)

// attachOptions are what `weft bench attach` measures.
type attachOptions struct {
	Nodes    int           `json:"nodes"`
	Levels   []int         `json:"levels"`
	Samples  int           `json:"samples"`
	Parallel int           `json:"parallel"`
	Settle   time.Duration `json:"settle-ns"`
	Idle     time.Duration `json:"idle-ns"`
	Together bool          `json:"together"`
	// binary has the hidden commands of internal/cluster; "": this process's own.
	binary string
}

// maxAttachments fit into the leg addresses of a replica, wherever they are.
const maxAttachments = 10000

func attachCommand() *cobra.Command {
	var options attachOptions
	var file string
	format := cli.FormatTable
	cmd := &cobra.Command{
		Use:   "attach",
		Short: "Measure attachments over several nodes: latency, rate, idle cost of each process",
		Long: `Measure attachments over several nodes. Needs root, and nothing from outside: the
nodes are network namespaces with the real components as processes, and a load
balancer each. Every attachment has a namespace of its own; half of them are to the
load balancer on their own node, half to that on the next one.

At each level, a number of attachments that are there, it takes what every process
costs while nothing happens, and then how long one more takes to be ready and to be
gone again, one at a time, with a leg on the same node and with one to another. On
the way to the next level it attaches several at a time and takes the rate.`,
		Example: `  weft bench attach
  weft bench attach --nodes 1 --levels 0,10 --samples 20 --idle 1s
  weft bench attach --together -o json --plot attach.svg`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := options.validate(); err != nil {
				return err
			}
			if os.Geteuid() != 0 {
				return fmt.Errorf("bench attach makes network namespaces and needs root")
			}
			// Namespaces and processes have to go, whoever ends it.
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			report, err := measureAttach(ctx, options)
			if err != nil {
				return err
			}
			if file != "" {
				if err := writePlot(file, report); err != nil {
					return err
				}
			}
			if format.Human() {
				return report.print(cmd.OutOrStdout())
			}
			return format.Write(cmd.OutOrStdout(), report)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&options.Nodes, "nodes", 3, "how many nodes")
	flags.IntSliceVar(&options.Levels, "levels", []int{0, 100, 500, 1000}, "numbers of attachments, on all nodes together, to measure at")
	flags.IntVar(&options.Samples, "samples", 200, "how many attachments to time at each level, of either kind of leg")
	flags.IntVar(&options.Parallel, "parallel", 8, "how many at a time on the way to the next level")
	flags.DurationVar(&options.Settle, "settle", 5*time.Second, "how long to wait before the idle processes are measured")
	flags.DurationVar(&options.Idle, "idle", 10*time.Second, "how long they are")
	flags.BoolVar(&options.Together, "together", false, "run each node as one process, weft up, in place of the components apart")
	flags.StringVar(&file, "plot", "", "file to draw the latencies into, as SVG")
	flags.VarP(&format, "output", "o", "output format: table, json, yaml")
	return cmd
}

func (o *attachOptions) validate() error {
	if o.Nodes < 1 || o.Nodes > 50 {
		return cli.Usagef("--nodes: %d is not within 1 and 50", o.Nodes)
	}
	slices.Sort(o.Levels)
	for _, level := range o.Levels {
		if level < 0 || level > maxAttachments {
			return cli.Usagef("--levels: %d is not within 0 and %d", level, maxAttachments)
		}
	}
	if o.Samples < 1 || o.Parallel < 1 {
		return cli.Usagef("--samples and --parallel must be at least 1")
	}
	if o.Idle <= 0 || o.Settle < 0 {
		return cli.Usagef("--idle must be above 0 and --settle not below")
	}
	return nil
}
