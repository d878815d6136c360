// SPDX-License-Identifier: Apache-2.0

package endpoint_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/weft-project/weft/internal/app/endpoint"
	"github.com/weft-project/weft/internal/balancer/lbtest"
	"github.com/weft-project/weft/internal/config"
	"github.com/weft-project/weft/internal/testutil"
	balancerv1 "github.com/weft-project/weft/pkg/api/balancer/v1"
)

func TestRunErrors(t *testing.T) {
	good := filepath.Join(t.TempDir(), "a.yaml")
	write(t, good, conduitManifest)
	bad := filepath.Join(t.TempDir(), "b.yaml")
	write(t, bad, "apiVersion: weft.dev/v1alpha1\nkind: Stream\nmetadata: {name: x}\nspec: {conduit: none}\n")
	variables := []string{"NSM_NAME=lb-1", "NSM_SERVICE_NAMES=lb.trench-a", "NSM_CIDR_PREFIX=172.16.0.0/24,fd00::/64"}
	for name, test := range map[string]struct {
		args      []string
		variables []string
		status    int
		text      string
	}{
		"check":            {[]string{"--check", "--resources", good}, nil, 0, ""},
		"help":             {[]string{"--help"}, nil, 0, "NSM_CIDR_PREFIX"},
		"no resources":     {nil, nil, 2, "--resources is missing"},
		"bad resources":    {[]string{"--check", "--resources", bad}, nil, 2, "b.yaml"},
		"admin socket":     {[]string{"--admin-socket", "/" + strings.Repeat("x", 120), "--resources", good}, nil, 2, "--admin-socket /xxx"},
		"argument":         {[]string{"x"}, nil, 2, `unexpected argument "x"`},
		"flag":             {[]string{"--nonsense"}, nil, 2, "nonsense"},
		"VLAN":             {[]string{"--vlan", "5000", "--resources", good}, nil, 2, "--vlan 5000"},
		"mode":             {[]string{"--mode", "fast", "--resources", good}, nil, 2, `mode "fast": neither auto, tcx nor xdp`},
		"flows":            {[]string{"--max-flows", "-1", "--resources", good}, nil, 2, "MaxFlows -1"},
		"fragments":        {[]string{"--max-fragments", "5", "--resources", good}, nil, 2, "MaxFragments 5"},
		"table size":       {[]string{"--table-size", "100", "--resources", good}, nil, 2, "TableSize 100"},
		"pin dir":          {[]string{"--pin-dir", "here", "--resources", good}, nil, 2, `PinDir "here" is not an absolute path`},
		"on stop":          {[]string{"--on-stop", "wait", "--resources", good}, nil, 2, `--on-stop "wait": neither keep nor remove`},
		"keep":             {[]string{"--on-stop", "keep", "--resources", good}, nil, 2, "--on-stop keep: needs --pin-dir"},
		"grace":            {[]string{"--grace", "-1s", "--resources", good}, nil, 2, "Withdraw or Grace is negative"},
		"prefix":           {[]string{"--resources", good}, []string{"NSM_CIDR_PREFIX=172.16.0.0/33"}, 2, "NSM_CIDR_PREFIX"},
		"no prefix":        {[]string{"--resources", good}, []string{"NSM_CIDR_PREFIX="}, 2, "CIDRPrefixes"},
		"no name":          {[]string{"--resources", good}, []string{"NSM_NAME="}, 2, "Name is empty"},
		"no service":       {[]string{"--resources", good}, []string{"NSM_SERVICE_NAMES="}, 2, "NSM_SERVICE_NAMES is empty"},
		"service":          {[]string{"--resources", good}, []string{"NSM_SERVICE_NAMES=lb"}, 2, `"lb" is not <conduit>.<trench>`},
		"duration":         {[]string{"--resources", good}, []string{"NSM_IDLE_TIMEOUT=5"}, 2, "NSM_IDLE_TIMEOUT"},
		"register service": {[]string{"--resources", good}, []string{"NSM_REGISTER_SERVICE=maybe"}, 2, "NSM_REGISTER_SERVICE"},
	} {
		t.Run(name, func(t *testing.T) {
			text := &lockedBuffer{}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			status := endpoint.Run(ctx, test.args, config.Environ(append(variables, test.variables...)), text)
			if status != test.status || !strings.Contains(text.String(), test.text) {
				t.Errorf("status %d, %s", status, text)
			}
		})
	}
}

// TestRun: the command serves from its environment and files, and follows the
// files.
func TestRun(t *testing.T) {
	n := newNode(t)
	path, text := filepath.Join(t.TempDir(), "lb.yaml"), &lockedBuffer{}
	write(t, path, conduitManifest)
	metrics, admin := freeAddress(t), filepath.Join(t.TempDir(), "admin.sock")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan int, 1)
	go func() {
		ended <- endpoint.Run(ctx, []string{
			"--resources", path, "--interface", lbtest.External, "--netns", n.router.AddReplica(), "--metrics", metrics,
			"--admin-socket", admin,
		}, config.Environ([]string{
			"NSM_NAME=lb-1", "NSM_CONNECT_TO=" + n.mesh.URL().String(), "NSM_LISTEN_ON=" + n.socket("lb-1").String(),
			"NSM_SERVICE_NAMES=" + service, "NSM_CIDR_PREFIX=172.16.0.0/24", "NSM_LOG_LEVEL=warn", "NSM_MAX_TOKEN_LIFETIME=1m",
		}), text)
	}()
	w := n.addWorkload()
	conn := n.connection(w, 1)
	testutil.Eventually(t, 20*time.Second, "attach to web", func() bool {
		answer, err := n.request(conn, "web")
		if err == nil {
			conn = answer
		}
		return err == nil
	})
	if _, err := n.request(conn, "sip"); err == nil || !strings.Contains(err.Error(), `unknown stream "sip"`) {
		t.Errorf("stream that is not there: %v", err)
	}
	write(t, path, conduitManifest+"---"+secondStream)
	testutil.Eventually(t, 20*time.Second, "join sip", func() bool {
		_, err := n.request(conn, "sip")
		return err == nil
	})
	page, err := http.Get("http://" + metrics + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(page.Body)
	page.Body.Close()
	if err != nil || !strings.Contains(string(body), `weft_lb_stream_targets_registered{endpoint="lb-1",stream="sip"} 1`) {
		t.Errorf("metrics: %v\n%s", err, body)
	}
	http.DefaultClient.CloseIdleConnections()
	listReplicas(t, admin)
	n.close(conn)
	cancel()
	if status := <-ended; status != 0 {
		t.Errorf("status %d: %s", status, text)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// listReplicas asks the administrator's socket what is balanced.
func listReplicas(t *testing.T, socket string) {
	t.Helper()
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := balancerv1.NewBalancerClient(conn)
	resp, err := client.List(t.Context(), &balancerv1.ListRequest{})
	if err != nil || len(resp.GetReplicas()) != 1 {
		t.Fatalf("%v, %v", resp, err)
	}
	if r := resp.GetReplicas()[0]; r.GetName() != "lb-1" || r.GetInterface() != lbtest.External || len(r.GetMac()) != 6 {
		t.Errorf("replica %v", r)
	}
	statistics, err := client.Statistics(t.Context(), &balancerv1.StatisticsRequest{Replica: "lb-1"})
	if err != nil || len(statistics.GetReplicas()) != 1 || len(statistics.GetReplicas()[0].GetStreams()) != 2 {
		t.Errorf("statistics %v, %v", statistics, err)
	}
}
