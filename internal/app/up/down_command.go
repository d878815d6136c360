// SPDX-License-Identifier: Apache-2.0

package up

import (
	"github.com/spf13/cobra"

	"github.com/weft-project/weft/internal/app/forwarder"
	"github.com/weft-project/weft/internal/preflight"
)

// NewDownCommand returns `weft down`.
func NewDownCommand() *cobra.Command {
	var (
		given  given
		keep   bool
		dryRun bool
	)
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Remove what a weft up has left on this host",
		Long: `down removes everything that a weft up, stopped or killed, has left on this
host: interfaces, with what they have inside of workloads, tunnels, processes
that encrypt, pinned programs and maps, sockets and the wanted attachments. It
takes the configuration file and the flags of weft up. The resources stay, and so
do leases of addresses, which workloads on other hosts may have still.

The attachments are forgotten, because the next weft up would make their
interfaces again, in workloads that nobody has asked: --keep-attachments is for
who wants just that.

It refuses while weft up runs. That there is nothing to remove is no error.`,
		Example: `  weft down --config /etc/weft/up.yaml
  weft down --dry-run            # say what would be removed
  weft down --keep-attachments   # the next weft up attaches again`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := given.config()
			if err != nil {
				return err
			}
			if config, err = config.withDefaults(); err != nil {
				return err
			}
			if err := preflight.Check(); err != nil {
				return err
			}
			config.PinDir = config.pins()
			r := remains{Config: config, keepAttachments: keep}
			if err := r.idle(); err != nil {
				return err
			}
			return forwarder.Removal{
				List: r.list, Remove: func() error { return r.remove(cmd.Context()) },
				DryRun: dryRun, Out: cmd.OutOrStdout(),
			}.Run()
		},
	}
	given.define(cmd.Flags())
	cmd.Flags().BoolVar(&keep, "keep-attachments", false, "keep the wanted attachments: the next weft up makes them again")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be removed")
	return cmd
}
