// SPDX-License-Identifier: Apache-2.0

package log

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"

	sdklog "github.com/networkservicemesh/sdk/pkg/tools/log"
	"github.com/sirupsen/logrus"
)

var adopt sync.Once

// adoptSDK leads the SDK's log to slog, once: the SDK reads its global logger
// without a lock.
func adoptSDK() {
	adopt.Do(func() {
		logrus.SetOutput(io.Discard)
		sdklog.SetGlobalLogger(&sdkLogger{})
	})
}

// setSDKLevel chooses how much the SDK computes for its log. Never below INFO:
// at WARN sdk v1.15.0 drops gRPC call options in core/trace/client.go, and every
// request that passes a descriptor hangs.
func setSDKLevel(l slog.Level) {
	if l <= LevelTrace {
		logrus.SetLevel(logrus.TraceLevel)
	} else {
		logrus.SetLevel(logrus.InfoLevel)
	}
	sdklog.EnableTracing(l <= LevelTrace)
}

// sdkLogger is the SDK's logger over slog.Default(). Its levels say how far
// something matters to the SDK, not to us: an "error" is often one of several
// candidates that was tried. All of them are debug here, with the SDK's level as
// attribute; its own debug and trace are trace. The SDK compares loggers, so they
// must be comparable: pointers.
type sdkLogger struct{ attrs []slog.Attr }

func (s *sdkLogger) log(l slog.Level, sdkLevel, message string) {
	if !slog.Default().Enabled(context.Background(), l) {
		return
	}
	attrs := append([]slog.Attr{slog.String("sdk", sdkLevel)}, s.attrs...)
	slog.LogAttrs(context.Background(), l, message, attrs...)
}

// enabled keeps formatting away from levels that nobody reads.
func enabled(l slog.Level) bool { return l >= level.Level() }

func (s *sdkLogger) print(l slog.Level, sdkLevel string, v []any) {
	if enabled(l) {
		s.log(l, sdkLevel, fmt.Sprint(v...))
	}
}

func (s *sdkLogger) printf(l slog.Level, sdkLevel, format string, v []any) {
	if enabled(l) {
		s.log(l, sdkLevel, fmt.Sprintf(format, v...))
	}
}

func (s *sdkLogger) Info(v ...any)                  { s.print(LevelDebug, "info", v) }
func (s *sdkLogger) Infof(format string, v ...any)  { s.printf(LevelDebug, "info", format, v) }
func (s *sdkLogger) Warn(v ...any)                  { s.print(LevelDebug, "warn", v) }
func (s *sdkLogger) Warnf(format string, v ...any)  { s.printf(LevelDebug, "warn", format, v) }
func (s *sdkLogger) Error(v ...any)                 { s.print(LevelDebug, "error", v) }
func (s *sdkLogger) Errorf(format string, v ...any) { s.printf(LevelDebug, "error", format, v) }
func (s *sdkLogger) Debug(v ...any)                 { s.print(LevelTrace, "debug", v) }
func (s *sdkLogger) Debugf(format string, v ...any) { s.printf(LevelTrace, "debug", format, v) }
func (s *sdkLogger) Trace(v ...any)                 { s.print(LevelTrace, "trace", v) }
func (s *sdkLogger) Tracef(format string, v ...any) { s.printf(LevelTrace, "trace", format, v) }

// Fatal ends the process, as the SDK relies on.
func (s *sdkLogger) Fatal(v ...any) {
	s.log(LevelError, "fatal", fmt.Sprint(v...))
	os.Exit(1)
}

func (s *sdkLogger) Fatalf(format string, v ...any) {
	s.log(LevelError, "fatal", fmt.Sprintf(format, v...))
	os.Exit(1)
}

func (s *sdkLogger) Object(k, v any) {
	if enabled(LevelTrace) {
		s.log(LevelTrace, "object", fmt.Sprintf("%v=%v", k, v))
	}
}

func (s *sdkLogger) WithField(key, value any) sdklog.Logger {
	attrs := append(s.attrs[:len(s.attrs):len(s.attrs)], slog.Any(fmt.Sprint(key), value))
	return &sdkLogger{attrs: attrs}
}
