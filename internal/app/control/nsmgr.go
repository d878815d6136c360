// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/weft-project/weft/internal/app/mesh"
)

// NewNSMgrCommand returns `weft nsmgr`.
func NewNSMgrCommand() *cobra.Command {
	var (
		c              common
		name           string
		registry, self string
	)
	cmd := &cobra.Command{
		Use:   "nsmgr",
		Short: "Run the network service manager of this node",
		Long: `nsmgr passes the connections of this node's workloads to its forwarder and,
with a registry, those of other nodes to its endpoints, until it is interrupted.

It answers from its own memory: with the registry slow or away, everything known
goes on, and only news of other nodes waits. Without --registry it is a registry of
its own.

Nothing is encrypted and nobody is authenticated over TCP: serve on a trusted
network only. The mode of its file protects a unix socket.`,
		Example: `  weft nsmgr --listen-on unix:///run/weft/nsmgr.sock --listen-on tcp://192.0.2.2:5001 \
    --registry tcp://192.0.2.1:5000`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config := mesh.Config{Name: name, Security: mesh.Plain(c.lifetime)}
			var problem, err error
			config.ListenOn, problem = urls("listen-on", c.listenOn...)
			if registry != "" {
				all, err := urls("registry", registry)
				if problem = errors.Join(problem, err); err == nil {
					config.Registry = all[0]
				}
			}
			if self != "" {
				all, err := urls("url", self)
				if problem = errors.Join(problem, err); err == nil {
					config.URL = all[0]
				}
			}
			if config.Name, err = mesh.NodeName("nsmgr", name); err != nil {
				problem = errors.Join(problem, err)
			}
			if problem == nil {
				problem = config.Validate()
			}
			return c.run(cmd, problem, func(ctx context.Context) (func() error, error) {
				m, err := mesh.Start(ctx, config)
				if err != nil {
					return nil, err
				}
				slog.Info("nsmgr serves", "urls", m.URLs(), "registry", registry)
				return m.Stop, nil
			})
		},
	}
	c.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&name, "name", "", "name in the path of connections, unique in the mesh (default: nsmgr-HOST)")
	f.StringVar(&registry, "registry", "", "URL of the registry of several nodes")
	f.StringVar(&self, "url", "", "URL where other nodes reach this one (default: the first tcp URL of --listen-on)")
	return cmd
}
