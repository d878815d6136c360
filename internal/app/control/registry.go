// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/weft-project/weft/internal/app/mesh"
)

// NewRegistryCommand returns `weft registry`.
func NewRegistryCommand() *cobra.Command {
	var c common
	cmd := &cobra.Command{
		Use:   "registry",
		Short: "Run the registry of several nodes",
		Long: `registry tells the network service managers of several nodes about each
other's endpoints, until it is interrupted. It keeps everything in memory: after a
restart the managers register again, and meanwhile go on with what they know.

Nothing is encrypted and nobody is authenticated: serve on a trusted network only.`,
		Example: `  weft registry --listen-on tcp://192.0.2.1:5000`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config := mesh.RegistryConfig{Security: mesh.Plain(c.lifetime)}
			var problem error
			if config.ListenOn, problem = urls("listen-on", c.listenOn...); problem == nil {
				problem = config.Validate()
			}
			return c.run(cmd, problem, func(ctx context.Context) (func() error, error) {
				r, err := mesh.StartRegistry(ctx, config)
				if err != nil {
					return nil, err
				}
				slog.Info("registry serves", "urls", r.URLs())
				return r.Stop, nil
			})
		},
	}
	c.flags(cmd)
	return cmd
}
