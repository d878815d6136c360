// SPDX-License-Identifier: Apache-2.0

package control

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/weft-project/weft/internal/app/mesh"
)

func execute(ctx context.Context, cmd *cobra.Command, args ...string) (string, error) {
	var out bytes.Buffer
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	err := cmd.ExecuteContext(ctx)
	return out.String(), err
}

func TestBadFlags(t *testing.T) {
	for _, tt := range []struct {
		cmd  *cobra.Command
		args string
		want []string
	}{
		{NewRegistryCommand(), "", []string{"registry: ListenOn is empty"}},
		{NewRegistryCommand(), "--listen-on 192.0.2.1:5000", []string{`--listen-on "192.0.2.1:5000"`}},
		{NewRegistryCommand(), "--listen-on tcp://:5000 --log-level loud --token-lifetime 1ms", []string{"--log-level", "--token-lifetime 1ms"}},
		{NewNSMgrCommand(), "--listen-on unix:///x --registry tcp://192.0.2.1:5000", []string{"one of ListenOn must be tcp, or URL set"}},
		{NewNSMgrCommand(), "--listen-on tcp://0.0.0.0:5001 --registry tcp://192.0.2.1:5000", []string{"URL tcp://0.0.0.0:5001 is not"}},
		{NewNSMgrCommand(), "--listen-on unix:///x --url tcp://192.0.2.1:5001", []string{"which need a Registry"}},
		{NewNSMgrCommand(), "--listen-on unix:///x --registry http://x --url y", []string{`--registry "http://x"`, `--url "y"`}},
	} {
		_, err := execute(t.Context(), tt.cmd, strings.Fields(tt.args)...)
		for _, want := range tt.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s %s: %v, want %q", tt.cmd.Name(), tt.args, err, want)
			}
		}
	}
	out, err := execute(t.Context(), NewNSMgrCommand(), "--listen-on", "unix:///x", "--check")
	if err != nil || !strings.Contains(out, "is good") {
		t.Errorf("%s, %v", out, err)
	}
}

func TestServe(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	path := filepath.Join(t.TempDir(), "r.sock")
	u, err := urls("listen-on", "unix://"+path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := execute(ctx, NewRegistryCommand(), "--listen-on", u[0].String())
		done <- err
	}()
	conn, err := mesh.Dial(u[0], mesh.Plain(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	wait, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	got, err := grpc_health_v1.NewHealthClient(conn).Check(wait,
		&grpc_health_v1.HealthCheckRequest{Service: "registry.NetworkServiceEndpointRegistry"})
	if err != nil || got.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("%v, %v", got, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
