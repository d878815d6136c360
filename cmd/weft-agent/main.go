// SPDX-License-Identifier: Apache-2.0

// Weft-agent attaches the workloads of a node to networks.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/weft-project/weft/internal/app/agent"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := agent.Run(ctx, os.Args[1:], os.LookupEnv, os.Stderr)
	stop()
	os.Exit(status)
}
