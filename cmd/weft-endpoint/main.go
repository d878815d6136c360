// SPDX-License-Identifier: Apache-2.0

// Weft-endpoint is a load-balancer endpoint of a network service.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/weft-project/weft/internal/app/endpoint"
	"github.com/weft-project/weft/internal/frontend/process"
)

func main() {
	process.MaybeServe()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := endpoint.Run(ctx, os.Args[1:], os.LookupEnv, os.Stderr)
	stop()
	os.Exit(status)
}
