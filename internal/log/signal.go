// SPDX-License-Identifier: Apache-2.0

package log

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

// ChangeOnSignal changes the level of the running process until ctx ends, as
// NSM's own components do: SIGUSR1 shows everything, SIGUSR2 goes back to normal.
func ChangeOnSignal(ctx context.Context, normal slog.Level) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1, syscall.SIGUSR2)
	go func() {
		defer signal.Stop(signals)
		for {
			select {
			case <-ctx.Done():
				return
			case received := <-signals:
				to := normal
				if received == syscall.SIGUSR1 {
					to = LevelTrace
				}
				SetLevel(to)
			}
		}
	}()
}
