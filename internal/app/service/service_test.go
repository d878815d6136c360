// SPDX-License-Identifier: Apache-2.0

package service

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRun(t *testing.T) {
	for _, tt := range []struct {
		name     string
		args     []string
		load     error
		serve    error
		status   int
		served   bool
		contains string
	}{
		{name: "serves", served: true},
		{name: "own flag", args: []string{"--node", "n1"}, served: true},
		{name: "check only", args: []string{"--check"}},
		{name: "help", args: []string{"--help"}, contains: "Usage: weft-test [flags]\n\nNSM_NAME"},
		{name: "unknown flag", args: []string{"--nodes"}, status: 2, contains: "-nodes"},
		{name: "argument", args: []string{"x"}, status: 2, contains: `weft-test: unexpected argument "x"`},
		{name: "bad configuration", load: errors.New("NSM_NAME: missing"), status: 2, contains: "weft-test: NSM_NAME: missing"},
		{name: "bad configuration with check", args: []string{"--check"}, load: errors.New("bad"), status: 2, contains: "bad"},
		{name: "fails", serve: errors.New("no nsmgr"), status: 1, served: true, contains: "no nsmgr"},
		{name: "metrics address", args: []string{"--metrics", "127.0.0.1:x"}, status: 1, contains: "serve metrics"},
		{name: "metrics", args: []string{"--metrics", "127.0.0.1:0"}, served: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var stderr bytes.Buffer
			served := false
			status := Run(t.Context(), Service{
				Name: "weft-test", Usage: "NSM_NAME name\n",
				Flags: func(f *flag.FlagSet) { f.String("node", "", "name") },
				Load:  func() (slog.Level, error) { return slog.LevelInfo, tt.load },
				Serve: func(context.Context, *slog.Logger, *prometheus.Registry) error {
					served = true
					return tt.serve
				},
			}, tt.args, &stderr)
			if status != tt.status || served != tt.served || !strings.Contains(stderr.String(), tt.contains) {
				t.Errorf("status %d, served %t, said %q", status, served, stderr.String())
			}
		})
	}
}
