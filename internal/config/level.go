// SPDX-License-Identifier: Apache-2.0

package config

import (
	"log/slog"

	"github.com/weft-project/weft/internal/log"
)

// Level is a log level by any name that NSM's components accept.
type Level slog.Level

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *Level) UnmarshalText(text []byte) error {
	level, err := log.ParseLevel(string(text))
	if err != nil {
		return err
	}
	*l = Level(level)
	return nil
}
