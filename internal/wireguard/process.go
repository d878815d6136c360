// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"fmt"
	"os"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/selfexec"
)

// start starts a process in the private namespace and waits until it serves.
func start(cfg serveConfig, node, private string) (*selfexec.Process, error) {
	nodeFile, err := netns.Open(node)
	if err != nil {
		return nil, fmt.Errorf("start WireGuard process: %w", err)
	}
	defer func() { _ = nodeFile.Close() }()
	return selfexec.Start(selfexec.Spec{
		Name: "weft-wireguard", Title: cfg.Name, Env: serveEnv, Config: cfg, NetNS: private, Socket: cfg.Socket,
		Files: []*os.File{nodeFile},
	})
}
