// SPDX-License-Identifier: Apache-2.0

package log_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"syscall"
	"testing"

	sdklog "github.com/networkservicemesh/sdk/pkg/tools/log"
	"github.com/sirupsen/logrus"

	"github.com/weft-project/weft/internal/log"
)

func TestSDKChatterOnlyAtDebug(t *testing.T) {
	var out bytes.Buffer
	logger := log.Setup(&out, log.LevelInfo)
	sdk := sdklog.L().WithField("conn", "c1")

	sdk.Errorf("all %d candidates have failed", 3)
	logrus.Error("written past the adapter")
	logger.Info("visible", log.Err(errors.New("reason")))
	if got := out.String(); strings.Contains(got, "candidates") || strings.Contains(got, "adapter") || !strings.Contains(got, "err=reason") {
		t.Errorf("at info:\n%s", got)
	}

	out.Reset()
	log.SetLevel(log.LevelDebug)
	sdk.Errorf("all %d candidates have failed", 3)
	sdk.Debug("inner step")
	if got := out.String(); !strings.Contains(got, `level=DEBUG msg="all 3 candidates have failed" sdk=error conn=c1`) || strings.Contains(got, "inner step") {
		t.Errorf("at debug:\n%s", got)
	}

	out.Reset()
	log.SetLevel(log.LevelTrace)
	sdk.Debug("inner step")
	if got := out.String(); !strings.Contains(got, `level=TRACE msg="inner step" sdk=debug conn=c1`) {
		t.Errorf("at trace:\n%s", got)
	}
}

// At WARN and below the SDK drops call options, and with them descriptors.
func TestLogrusNeverBelowInfo(t *testing.T) {
	for _, l := range []slog.Level{log.LevelTrace, log.LevelDebug, log.LevelInfo, log.LevelWarn, log.LevelError} {
		log.Setup(&bytes.Buffer{}, l)
		if got := logrus.GetLevel(); got < logrus.InfoLevel {
			t.Errorf("at %s logrus is at %s", l, got)
		}
		if log.Level() != l {
			t.Errorf("level %s, want %s", log.Level(), l)
		}
	}
}

func TestChangeOnSignal(t *testing.T) {
	log.Setup(&bytes.Buffer{}, log.LevelWarn)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	log.ChangeOnSignal(ctx, log.LevelWarn)
	for _, step := range []struct {
		signal syscall.Signal
		want   slog.Level
	}{{syscall.SIGUSR1, log.LevelTrace}, {syscall.SIGUSR2, log.LevelWarn}} {
		if err := syscall.Kill(syscall.Getpid(), step.signal); err != nil {
			t.Fatal(err)
		}
		for log.Level() != step.want { // the test's time limit ends a wait in vain
			runtime.Gosched()
		}
	}
}

func TestFieldsDoNotLeakBetweenLoggers(t *testing.T) {
	var out bytes.Buffer
	log.Setup(&out, log.LevelDebug)
	base := sdklog.L().WithField("a", 1)
	one, two := base.WithField("b", "one"), base.WithField("b", "two")
	one.Info("x")
	two.Info("x")
	if got := out.String(); strings.Count(got, "b=one") != 1 || strings.Count(got, "b=two") != 1 {
		t.Errorf("fields:\n%s", got)
	}
}

func TestErrorsWithoutStack(t *testing.T) {
	var out bytes.Buffer
	log.Setup(&out, log.LevelInfo).Info("x", log.Err(withStack{}), "other", withStack{})
	if got := out.String(); !strings.HasSuffix(got, " err=reason other=reason\n") {
		t.Errorf("printed %s", got)
	}
}

// withStack prints more than its text, as pkg/errors' errors do.
type withStack struct{}

func (withStack) Error() string              { return "reason" }
func (withStack) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "reason\nmain.go:1") }

func TestParseLevel(t *testing.T) {
	for name, want := range map[string]slog.Level{
		"TRACE": log.LevelTrace, "debug": log.LevelDebug, "Info": log.LevelInfo,
		"warning": log.LevelWarn, "warn": log.LevelWarn, "error": log.LevelError, "fatal": log.LevelError,
	} {
		if got, err := log.ParseLevel(name); err != nil || got != want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if _, err := log.ParseLevel("loud"); err == nil || err.Error() != `log level "loud" is none of trace, debug, info, warn, error` {
		t.Errorf("error %v", err)
	}
}
