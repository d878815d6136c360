// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"

	"github.com/weft-project/weft/internal/app/agent"
	"github.com/weft-project/weft/internal/config"
	"github.com/weft-project/weft/internal/testutil"
	agentv1 "github.com/weft-project/weft/pkg/api/agent/v1"
)

func TestRunRefuses(t *testing.T) {
	dir := t.TempDir()
	broken := filepath.Join(stored(t, dir), "a.json")
	check(t, os.WriteFile(broken, []byte("nothing"), 0o600))
	tests := map[string]struct {
		args      []string
		variables []string
		text      string
	}{
		"flag":          {[]string{"--nonsense"}, nil, "-nonsense"},
		"argument":      {[]string{"nonsense"}, nil, `"nonsense"`},
		"URL":           {nil, []string{"NSM_CONNECT_TO=ftp://x"}, "NSM_CONNECT_TO"},
		"several":       {nil, []string{"NSM_LOG_LEVEL=loud", "NSM_REQUEST_TIMEOUT=-1s"}, "NSM_REQUEST_TIMEOUT"},
		"configuration": {[]string{"--check", "--state-dir=x"}, nil, "StateDir"},
		"state":         {[]string{"--check", "--state-dir=" + dir}, nil, broken},
		"state at run":  {[]string{"--state-dir=" + dir, "--socket=" + dir + "/s", "--admin-socket=" + dir + "/a"}, nil, broken},
	}
	for name, test := range tests {
		var stderr bytes.Buffer
		status := agent.Run(t.Context(), test.args, config.Environ(test.variables), &stderr)
		if status == 0 || !strings.Contains(stderr.String(), test.text) {
			t.Errorf("%s: status %d, %q", name, status, stderr.String())
		}
	}
	var stderr bytes.Buffer
	if status := agent.Run(t.Context(), []string{"--help"}, config.Environ(nil), &stderr); status != 0 || !strings.Contains(stderr.String(), "NSM_CONNECT_TO") {
		t.Errorf("help: status %d, %q", status, stderr.String())
	}
	if status := agent.Run(t.Context(), []string{"--check", "--state-dir=" + t.TempDir()}, config.Environ(nil), &stderr); status != 0 {
		t.Errorf("check of a good configuration: status %d, %q", status, stderr.String())
	}
}

func TestRunServesUntilTheEnd(t *testing.T) {
	testutil.Require(t, "netns")
	testutil.CheckLeaks(t)
	f := newFixture(t)
	f.endpoint("lb-1", "lb.trench-a")
	check(t, f.Stop())
	ctx, cancel := context.WithCancel(context.Background())
	var stderr bytes.Buffer
	ended := make(chan int)
	go func() {
		ended <- agent.Run(ctx, []string{
			"--node=node-1", "--socket=" + f.config.Socket, "--admin-socket=" + f.config.AdminSocket, "--state-dir=" + f.config.StateDir,
		}, config.Environ([]string{"NSM_CONNECT_TO=" + f.mesh.URL().String(), "NSM_LOG_LEVEL=WARN"}), &stderr)
	}()
	w := f.workload()
	client := agentv1.NewAgentClient(f.dial(f.config.AdminSocket))
	request := attachRequest("a", "web")
	request.Spec.Netns = w.path
	if _, err := client.Attach(within(t), request, grpc.WaitForReady(true)); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Detach(within(t), &agentv1.DetachRequest{Name: "a"}); err != nil {
		t.Fatal(err)
	}
	cancel()
	if status := <-ended; status != 0 {
		t.Errorf("status %d, %q", status, stderr.String())
	}
	f.start()
}
