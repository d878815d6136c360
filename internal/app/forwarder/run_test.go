// SPDX-License-Identifier: Apache-2.0

package forwarder_test

import (
	"bytes"
	"context"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/weft-project/weft/internal/app/forwarder"
	"github.com/weft-project/weft/internal/app/mesh"
	"github.com/weft-project/weft/internal/config"
	"github.com/weft-project/weft/internal/log"
	"github.com/weft-project/weft/internal/testutil"
)

func run(ctx context.Context, args, environ []string) (int, string) {
	var out bytes.Buffer
	status := forwarder.Run(ctx, args, config.Environ(environ), &out)
	return status, out.String()
}

func TestCommandLine(t *testing.T) {
	for name, tc := range map[string]struct {
		args, environ []string
		status        int
		text          string
	}{
		"good":     {args: []string{"--check"}, environ: []string{"NSM_NAME=f", "NSM_CONNECT_TO=unix:///x", "NSM_TUNNEL_IP=192.0.2.1/24"}},
		"help":     {args: []string{"--help"}, text: "NSM_CONNECT_TO\tnsmgr to connect to"},
		"flag":     {args: []string{"--nonsense"}, status: 2, text: "flag provided but not defined: -nonsense"},
		"argument": {args: []string{"now"}, status: 2, text: `weft-forwarder: unexpected argument "now"`},
		"variable": {args: []string{"--check"}, environ: []string{"NSM_TUNNEL_IP=here", "NSM_LABELS=x"}, status: 2,
			text: `NSM_TUNNEL_IP="here": want an address or address/bits`},
	} {
		t.Run(name, func(t *testing.T) {
			status, text := run(t.Context(), tc.args, tc.environ)
			if status != tc.status || !strings.Contains(text, tc.text) {
				t.Errorf("status %d, want %d:\n%s", status, tc.status, text)
			}
		})
	}
}

func TestEnvironment(t *testing.T) {
	e, err := forwarder.ReadEnvironment(config.Environ([]string{
		"NSM_NAME=forwarder-node-1", "NSM_NSNAME=l2", "NSM_LABELS=p2p:true,zone:a", "NSM_CONNECT_TO=unix:///var/lib/networkservicemesh/nsm.io.sock",
		"NSM_LISTEN_ON=tcp://:5001", "NSM_DIAL_TIMEOUT=750ms", "NSM_TUNNEL_IP=192.0.2.7/24",
		// Of upstream's forwarders, without a meaning here.
		"NSM_VPP_API_SOCKET=/x", "NSM_OPEN_TELEMETRY_ENDPOINT=otel:4317",
	}))
	if err != nil {
		t.Fatal(err)
	}
	want := forwarder.Config{
		Name: "forwarder-node-1", Service: "l2", Labels: map[string]string{"p2p": "true", "zone": "a"},
		ConnectTo: &url.URL{Scheme: "unix", Path: "/var/lib/networkservicemesh/nsm.io.sock"},
		ListenOn:  &url.URL{Scheme: "tcp", Host: ":5001"}, DialTimeout: 750 * time.Millisecond, TunnelIP: netip.MustParseAddr("192.0.2.7"), TunnelPort: 4789,
	}
	if diff := cmp.Diff(want, e.Config(), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Error(diff)
	}
}

func TestValidateJoinsProblems(t *testing.T) {
	err := forwarder.Config{DialTimeout: -1}.Validate()
	for _, want := range []string{"Name is empty", "ConnectTo is empty", "ListenOn is empty", "DialTimeout -1ns is negative"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v misses %q", err, want)
		}
	}
	if _, err := forwarder.Start(t.Context(), forwarder.Config{}, forwarder.Deps{}); err == nil {
		t.Error("starts without configuration")
	}
}

func TestFailedStartReleasesEverything(t *testing.T) {
	testutil.CheckLeaks(t)
	testutil.Require(t, "bpf", "netns")
	outside := testutil.NetNS(t)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	dir := t.TempDir()
	_, err := forwarder.Start(ctx, forwarder.Config{
		Name: "f", ConnectTo: &url.URL{Scheme: "unix", Path: dir + "/nobody.sock"}, ListenOn: &url.URL{Scheme: "unix", Path: dir + "/f.sock"}, NetNS: outside,
	}, forwarder.Deps{})
	if err == nil || !strings.Contains(err.Error(), "register f at unix://"+dir+"/nobody.sock") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(dir + "/f.sock"); !os.IsNotExist(err) {
		t.Errorf("the socket remains: %v", err)
	}
}

// The command as a deployment runs it: registered by descriptor, healthy, gone
// from the registry when it ends.
func TestRunServesUntilItsContextEnds(t *testing.T) {
	testutil.CheckLeaks(t)
	testutil.Require(t, "bpf", "netns")
	dir := t.TempDir()
	m, err := mesh.Start(context.Background(), mesh.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Stop() }()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	type result struct {
		status int
		text   string
	}
	done := make(chan result, 1)
	go func() {
		status, text := run(ctx, nil, []string{
			"NSM_NAME=f1", "NSM_CONNECT_TO=" + m.URL().String(), "NSM_LISTEN_ON=unix://" + dir + "/f1.sock", "NSM_LOG_LEVEL=INFO",
		})
		done <- result{status, text}
	}()
	cc, err := mesh.Dial(m.URL(), mesh.Security{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cc.Close() }()
	watching, stop := context.WithTimeout(context.Background(), 20*time.Second)
	defer stop()
	stream, err := registry.NewNetworkServiceEndpointRegistryClient(cc).Find(watching, &registry.NetworkServiceEndpointQuery{
		NetworkServiceEndpoint: &registry.NetworkServiceEndpoint{NetworkServiceNames: []string{"forwarder"}}, Watch: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	event, err := stream.Recv()
	if err != nil || event.GetDeleted() || event.GetNetworkServiceEndpoint().GetNetworkServiceLabels()["forwarder"].GetLabels()["p2p"] != "true" {
		t.Fatalf("%v, %v", event, err)
	}
	u, err := url.Parse(event.GetNetworkServiceEndpoint().GetUrl())
	if err != nil || !strings.HasPrefix(u.Path, "/proc/") {
		t.Errorf("registered by %v, %v; want a descriptor", u, err)
	}
	health, err := mesh.Dial(u, mesh.Security{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = health.Close() }()
	answer, err := grpc_health_v1.NewHealthClient(health).Check(watching, &grpc_health_v1.HealthCheckRequest{Service: "networkservice.NetworkService"})
	if err != nil || answer.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("health: %v, %v", answer, err)
	}
	cancel()
	if got := <-done; got.status != 0 || !strings.Contains(got.text, "forwarder serves") {
		t.Errorf("status %d:\n%s", got.status, got.text)
	}
	log.Setup(os.Stderr, log.LevelWarn)
	for {
		event, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if event.GetDeleted() {
			return
		}
	}
}
