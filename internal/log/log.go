// SPDX-License-Identifier: Apache-2.0

package log

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
)

// Levels. LevelTrace adds the SDK's dump of every connection at every element.
const (
	LevelTrace = slog.LevelDebug - 4
	LevelDebug = slog.LevelDebug
	LevelInfo  = slog.LevelInfo
	LevelWarn  = slog.LevelWarn
	LevelError = slog.LevelError
)

// Keys of attributes; the same thing has the same key everywhere.
const (
	KeyConn    = "conn"
	KeyService = "service"
	KeyIface   = "iface"
	KeyVIP     = "vip"
	KeyTarget  = "target"
	KeyPeer    = "peer"
	KeyProg    = "prog"
	KeyMap     = "map"
	KeyErr     = "err"
)

// Err returns the attribute of an error.
func Err(err error) slog.Attr { return slog.Any(KeyErr, err) }

var (
	level slog.LevelVar
	mu    sync.Mutex // serialises Setup and SetLevel
)

// Setup makes w the destination of the whole process's log, at a level, and
// returns the logger, which is slog's default from now on. Call it before
// anything of the NSM SDK runs.
func Setup(w io.Writer, l slog.Level) *slog.Logger {
	mu.Lock()
	defer mu.Unlock()
	logger := slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: &level, ReplaceAttr: tidy}))
	slog.SetDefault(logger)
	setLevel(l)
	adoptSDK()
	return logger
}

// SetLevel changes the level of the running process.
func SetLevel(l slog.Level) {
	mu.Lock()
	defer mu.Unlock()
	setLevel(l)
}

// Level returns the present level.
func Level() slog.Level { return level.Level() }

func setLevel(l slog.Level) {
	level.Set(l)
	setSDKLevel(l)
}

// tidy prints TRACE where slog would print DEBUG-4, and errors without the stack
// traces that those of the SDK carry.
func tidy(_ []string, a slog.Attr) slog.Attr {
	switch value := a.Value.Any().(type) {
	case slog.Level:
		if a.Key == slog.LevelKey && value == LevelTrace {
			a.Value = slog.StringValue("TRACE")
		}
	case error:
		a.Value = slog.StringValue(value.Error())
	}
	return a
}

// ParseLevel returns the level of a name: trace, debug, info, warn, error, and
// the others that NSM's own components accept.
func ParseLevel(name string) (slog.Level, error) {
	switch strings.ToLower(name) {
	case "trace":
		return LevelTrace, nil
	case "debug":
		return LevelDebug, nil
	case "info":
		return LevelInfo, nil
	case "warn", "warning":
		return LevelWarn, nil
	case "error", "fatal", "panic":
		return LevelError, nil
	}
	return 0, fmt.Errorf("log level %q is none of trace, debug, info, warn, error", name)
}
