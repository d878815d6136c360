// SPDX-License-Identifier: Apache-2.0

// Command weft is the command line of Weft; `weft help` lists what it can do.
package main

import (
	"context"
	"os"

	"github.com/weft-project/weft/internal/app/bench"
	"github.com/weft-project/weft/internal/app/control"
	"github.com/weft-project/weft/internal/app/demo"
	"github.com/weft-project/weft/internal/app/up"
	"github.com/weft-project/weft/internal/app/weft"
	"github.com/weft-project/weft/internal/cli"
	"github.com/weft-project/weft/internal/cluster"
	"github.com/weft-project/weft/internal/frontend/process"
	"github.com/weft-project/weft/internal/wireguard"
)

func main() {
	process.MaybeServe()
	wireguard.MaybeServe()
	process.MaybeServe()
	commands := append(cluster.NewCommands(), up.NewCommand(), up.NewDownCommand(), control.NewRegistryCommand(), control.NewNSMgrCommand(),
		demo.NewCommand(), bench.NewCommand())
	os.Exit(weft.Run(context.Background(), cli.OSEnv(), os.Args[1:], commands...))
}
