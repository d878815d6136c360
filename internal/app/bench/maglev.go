// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/weft-project/weft/internal/cli"
	"github.com/weft-project/weft/internal/maglev"
)

// maglevOptions are what `weft bench maglev` measures.
type maglevOptions struct {
	Sizes   []uint
	Targets []int
	Leavers int
	Failed  []int
	Rounds  int
	Seed    uint64
}

// The experiment of the paper's figure 12.
const paperTargets = 1000

var paperSizes = []uint{65537, 655373}

func maglevCommand() *cobra.Command {
	var options maglevOptions
	var file string
	format := cli.FormatTable
	cmd := &cobra.Command{
		Use:   "maglev",
		Short: "Measure how many flows move when targets leave a Maglev table",
		Long: `Measure how many flows move when targets leave a Maglev table. Needs no privilege.

The first table: one of N targets leaves; which share of the slots that the others
had changes hands? A flow belongs to a slot by its hash, so the share of the flows
is the same.

The second table repeats the experiment of figure 12 of the Maglev paper (Eisenbud
et al., NSDI 2016, section 5.3): of 1000 targets some leave at once, at random.`,
		Example: `  weft bench maglev
  weft bench maglev --sizes 16381 --targets 10,100 -o json
  weft bench maglev --rounds 200 --plot maglev.svg`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := options.validate(); err != nil {
				return err
			}
			report, err := measureMaglev(cmd.Context(), options)
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
	flags.UintSliceVar(&options.Sizes, "sizes", []uint{65537, 16381}, "table sizes, prime numbers")
	flags.IntSliceVar(&options.Targets, "targets", []int{2, 3, 5, 10, 20, 50, 100, 200, 500, 1000}, "numbers of targets of which one leaves")
	flags.IntVar(&options.Leavers, "leavers", 50, "how many different targets leave, each by itself, for mean and maximum")
	flags.IntSliceVar(&options.Failed, "failed", []int{1, 5, 10, 20, 30, 40, 50}, "how many of 1000 targets leave at once")
	flags.IntVar(&options.Rounds, "rounds", 20, "how often that is tried with others; the paper has 200")
	flags.Uint64Var(&options.Seed, "seed", 1, "seed of who leaves")
	flags.StringVar(&file, "plot", "", "file to draw both curves into, as SVG")
	flags.VarP(&format, "output", "o", "output format: table, json, yaml")
	return cmd
}

func (o *maglevOptions) validate() error {
	for _, size := range o.Sizes {
		if size > 1<<24 || !maglev.IsPrime(uint32(size)) {
			return cli.Usagef("--sizes: %d is not a prime number up to %d", size, 1<<24)
		}
	}
	for _, n := range o.Targets {
		if smallest := int(slices.Min(o.Sizes)); n < 2 || n > min(smallest, maglev.MaxBackends) {
			return cli.Usagef("--targets: %d is not within 2 and %d, the smallest size", n, min(smallest, maglev.MaxBackends))
		}
	}
	for _, n := range o.Failed {
		if n < 1 || n >= paperTargets {
			return cli.Usagef("--failed: %d is not within 1 and %d", n, paperTargets-1)
		}
	}
	if o.Leavers < 1 || o.Rounds < 1 {
		return cli.Usagef("--leavers and --rounds must be at least 1")
	}
	slices.Sort(o.Targets)
	slices.Sort(o.Failed)
	return nil
}

// writePlot draws a report into a file.
func writePlot(name string, report interface{ draw(io.Writer) error }) (err error) {
	file, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("write plot: %w", err)
	}
	defer func() {
		if closeErr := file.Close(); err == nil && closeErr != nil {
			err = fmt.Errorf("write plot: %w", closeErr)
		}
	}()
	return report.draw(file)
}
