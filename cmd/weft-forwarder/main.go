// SPDX-License-Identifier: Apache-2.0

// Weft-forwarder is the NSM forwarder of a node.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/weft-project/weft/internal/app/forwarder"
	"github.com/weft-project/weft/internal/wireguard"
)

func main() {
	wireguard.MaybeServe()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := forwarder.Run(ctx, os.Args[1:], os.LookupEnv, os.Stderr)
	stop()
	os.Exit(status)
}
