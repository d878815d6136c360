// SPDX-License-Identifier: Apache-2.0

package forwarder_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/weft-project/weft/internal/app/mesh"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/pkg/networkservice/fd"
)

func addresses(t testing.TB, conn *networkservice.Connection) (src, dst string) {
	t.Helper()
	ip := conn.GetContext().GetIpContext()
	if len(ip.GetSrcIPNets()) == 0 || len(ip.GetDstIPNets()) == 0 {
		t.Fatalf("no addresses in %v", ip)
	}
	return ip.GetSrcIPNets()[0].IP.String(), ip.GetDstIPNets()[0].IP.String()
}

func links(t testing.TB, ns string) []string {
	t.Helper()
	all, err := testutil.Handle(t, ns).Links()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range all {
		names = append(names, l.Name)
	}
	return names
}

func TestConnectRefreshClose(t *testing.T) {
	testutil.CheckLeaks(t)
	w := newWorld(t)
	endpointNS, _ := w.endpoint("nse-1", "10.9.0.0/24")
	workload := testutil.NetNS(t)
	for name, elements := range map[string][]networkservice.NetworkServiceClient{
		"descriptor": {passing()},
		"path":       nil,
	} {
		t.Run(name, func(t *testing.T) {
			c := w.client("nsc-"+name, elements...)
			conn := request(t, c, ask("c1-"+name, workload, "nsm-1"))
			src, dst := addresses(t, conn)
			testutil.MustExchange(t, workload, "tcp", "", testutil.Echo(t, endpointNS, dst+":0"))
			testutil.MustExchange(t, endpointNS, "udp", "", testutil.Echo(t, workload, src+":0"))

			before := testutil.Link(t, workload, "nsm-1")
			outer := links(t, w.outside)
			refreshed := request(t, c, &networkservice.NetworkServiceRequest{Connection: conn.Clone()})
			if again, _ := addresses(t, refreshed); again != src {
				t.Errorf("address %s after refresh, %s before", again, src)
			}
			if diff := cmp.Diff(before, testutil.Link(t, workload, "nsm-1")); diff != "" {
				t.Errorf("refresh changed the interface:\n%s", diff)
			}
			if diff := cmp.Diff(outer, links(t, w.outside)); diff != "" {
				t.Errorf("refresh changed the outer ends:\n%s", diff)
			}
			testutil.MustExchange(t, workload, "udp", "", testutil.Echo(t, endpointNS, dst+":0"))

			closeConn(t, c, conn)
			for _, ns := range []string{workload, endpointNS, w.outside} {
				if diff := cmp.Diff([]string{"lo"}, links(t, ns)); diff != "" {
					t.Errorf("after close in %s:\n%s", ns, diff)
				}
			}
		})
	}
}

func failing(t *testing.T, c networkservice.NetworkServiceClient, r *networkservice.NetworkServiceRequest, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	if _, err := c.Request(ctx, r); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestBadRequestsChangeNothing(t *testing.T) {
	testutil.CheckLeaks(t)
	w := newWorld(t)
	endpointNS, _ := w.endpoint("nse-1", "10.9.0.0/24")
	workload := testutil.NetNS(t)
	c := w.client("nsc")
	bad := func(id, ns, iface string) *networkservice.NetworkServiceRequest { return ask(id, ns, iface) }

	failing(t, c, bad("a", workload, "sixteen-bytes-xx"), `code = InvalidArgument desc = mechanism parameter name "sixteen-bytes-xx": has 16 bytes, an interface name has at most 15`)
	failing(t, c, bad("b", workload, "a/b"), "code = InvalidArgument")
	failing(t, c, bad("c", "/run/netns/no-such-namespace", "nsm-1"), "no such file or directory")
	failing(t, c, bad("d", "/etc/hostname", "nsm-1"), "code = NotFound")
	failing(t, c, bad("e", workload, "lo"), "code = AlreadyExists")

	first := request(t, c, bad("f", workload, "nsm-1"))
	named := bad("g", workload, "nsm-2")
	named.Connection.NetworkServiceEndpointName = "nse-9"
	failing(t, c, named, "network service endpoint nse-9 not found")
	elsewhere := bad("h", workload, "nsm-2")
	elsewhere.Connection.NetworkService = "no.such"
	failing(t, c, elsewhere, "network service no.such is not found")

	if diff := cmp.Diff([]string{"lo", "nsm-1"}, links(t, workload)); diff != "" {
		t.Errorf("in the workload:\n%s", diff)
	}
	if got := links(t, endpointNS); len(got) != 2 {
		t.Errorf("in the endpoint: %v", got)
	}
	closeConn(t, c, first)
	if got := append(links(t, endpointNS), links(t, w.outside)...); len(got) != 2 {
		t.Errorf("after close: %v", got)
	}
}

// A held descriptor would keep the dead namespace alive, and with it the
// interface, whose outer end would remain.
func TestNamespaceDies(t *testing.T) {
	testutil.CheckLeaks(t)
	for name, elements := range map[string][]networkservice.NetworkServiceClient{"path": nil, "descriptor": {fd.NewClient()}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.endpoint("nse-1", "10.9.0.0/24")
			workload := testutil.NetNS(t)
			c := w.client("nsc", elements...)
			conn := request(t, c, ask("a", workload, "nsm-1"))
			if got := links(t, w.outside); len(got) != 3 {
				t.Fatalf("outer ends: %v", got)
			}
			testutil.DeleteNetNS(t, workload)
			testutil.Eventually(t, 5*time.Second, "the outer end of the dead workload goes", func() bool { return len(links(t, w.outside)) == 2 })
			closeConn(t, c, conn)
			if got := links(t, w.outside); len(got) != 1 {
				t.Errorf("after close: %v", got)
			}
		})
	}
}

func TestTwoLegsShareTheInterface(t *testing.T) {
	testutil.CheckLeaks(t)
	w := newWorld(t)
	workload := testutil.NetNS(t)
	c := w.client("nsc")
	var conns []*networkservice.Connection
	for i, name := range []string{"nse-1", "nse-2"} {
		ns, _ := w.endpoint(name, fmt.Sprintf("10.%d.0.0/24", i+1))
		r := ask("leg-"+name, workload, "nsm-1")
		r.Connection.NetworkServiceEndpointName = name
		// Legs carry the MAC of the interface they share.
		r.Connection.Context = &networkservice.ConnectionContext{EthernetContext: &networkservice.EthernetContext{SrcMac: "02:00:00:00:00:01"}}
		conn := request(t, c, r)
		_, dst := addresses(t, conn)
		testutil.MustExchange(t, workload, "tcp", "", testutil.Echo(t, ns, dst+":0"))
		conns = append(conns, conn)
	}
	iface := testutil.Link(t, workload, "nsm-1")
	h := testutil.Handle(t, workload)
	if own, err := h.Addresses(iface.Index); err != nil || len(own) < 2 {
		t.Errorf("addresses %v, %v", own, err)
	}
	closeConn(t, c, conns[0])
	src, _ := addresses(t, conns[0])
	own, err := h.Addresses(iface.Index)
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range own {
		if address.Addr().String() == src {
			t.Errorf("the closed leg's address %s remains", src)
		}
	}
	if again := testutil.Link(t, workload, "nsm-1"); again.Index != iface.Index {
		t.Error("the interface is another one")
	}
	closeConn(t, c, conns[1])
	if got := links(t, workload); len(got) != 1 {
		t.Errorf("after close: %v", got)
	}
}

func TestUnnamedEndpointsTakeTurns(t *testing.T) {
	testutil.CheckLeaks(t)
	w := newWorld(t)
	w.endpoint("nse-1", "10.1.0.0/24")
	w.endpoint("nse-2", "10.2.0.0/24")
	workload := testutil.NetNS(t)
	c := w.client("nsc")
	used := map[string]int{}
	for i := range 4 {
		conn := request(t, c, ask(fmt.Sprintf("c%d", i), workload, fmt.Sprintf("nsm-%d", i)))
		used[conn.GetNetworkServiceEndpointName()]++
	}
	if used["nse-1"] != 2 || used["nse-2"] != 2 {
		t.Errorf("connections per endpoint: %v", used)
	}
}

func TestStopRemovesWhatIsThere(t *testing.T) {
	testutil.CheckLeaks(t)
	w := newWorld(t)
	endpointNS, _ := w.endpoint("nse-1", "10.9.0.0/24")
	workload := testutil.NetNS(t)
	request(t, w.client("nsc"), ask("a", workload, "nsm-1"))
	if err := w.forwarder.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, ns := range []string{workload, endpointNS, w.outside} {
		if got := links(t, ns); len(got) != 1 {
			t.Errorf("in %s: %v", ns, got)
		}
	}
	failing(t, w.client("nsc-2"), ask("b", workload, "nsm-1"), "no candidates found")
}

func TestRestartedForwarderServesAgain(t *testing.T) {
	testutil.CheckLeaks(t)
	w := newWorld(t)
	endpointNS, _ := w.endpoint("nse-1", "10.9.0.0/24")
	workload := testutil.NetNS(t)
	c := w.client("nsc")
	conn := request(t, c, ask("a", workload, "nsm-1"))
	if err := w.forwarder.Stop(); err != nil {
		t.Fatal(err)
	}
	w.startForwarder()
	conn = request(t, c, &networkservice.NetworkServiceRequest{Connection: conn.Clone(), MechanismPreferences: ask("", workload, "nsm-1").GetMechanismPreferences()})
	_, dst := addresses(t, conn)
	testutil.MustExchange(t, workload, "tcp", "", testutil.Echo(t, endpointNS, dst+":0"))
	closeConn(t, c, conn)
	if got := append(links(t, workload), links(t, w.outside)...); len(got) != 2 {
		t.Errorf("after close: %v", got)
	}
}

// The registry has only memory: forwarder and endpoint must register again by
// themselves. Meanwhile packets flow.
func TestRestartedNsmgrLearnsOfTheForwarder(t *testing.T) {
	testutil.CheckLeaks(t)
	w := newWorld(t)
	endpointNS, _ := w.endpoint("nse-1", "10.9.0.0/24")
	workload := testutil.NetNS(t)
	conn := request(t, w.client("nsc"), ask("a", workload, "nsm-1"))
	_, dst := addresses(t, conn)
	echo := testutil.Echo(t, endpointNS, dst+":0")
	if err := w.mesh.Stop(); err != nil {
		t.Fatal(err)
	}
	testutil.MustExchange(t, workload, "tcp", "", echo)
	w.startMesh()
	c := w.client("nsc-2")
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	testutil.Eventually(t, 30*time.Second, "a request succeeds after the restart", func() bool {
		conn, err := c.Request(ctx, ask("b", workload, "nsm-2"))
		if err == nil {
			_, err = c.Close(ctx, conn)
		}
		return err == nil
	})
	testutil.MustExchange(t, workload, "tcp", "", echo)
}

// The SDK's clients learn by monitor events that a hop behind the next is gone.
func TestDeathOfTheEndpointReachesTheClient(t *testing.T) {
	testutil.CheckLeaks(t)
	w := newWorld(t)
	_, server := w.endpoint("nse-1", "10.9.0.0/24")
	workload := testutil.NetNS(t)
	c := w.client("nsc")
	conn := request(t, c, ask("a", workload, "nsm-1"))

	cc, err := mesh.Dial(w.manager, mesh.Security{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cc.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	events, err := networkservice.NewMonitorConnectionClient(cc).MonitorConnections(ctx, &networkservice.MonitorScopeSelector{
		PathSegments: []*networkservice.PathSegment{{Name: "nsc", Id: "a"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := events.Recv(); err != nil { // what is there
		t.Fatal(err)
	}
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	for down := false; !down; {
		event, err := events.Recv()
		if err != nil {
			t.Fatal(err)
		}
		for _, changed := range event.GetConnections() {
			down = down || changed.GetState() == networkservice.State_DOWN
		}
	}
	_ = conn
}

func TestManyCyclesGrowNothing(t *testing.T) {
	testutil.CheckLeaks(t)
	w := newWorld(t)
	endpointNS, _ := w.endpoint("nse-1", "10.9.0.0/16")
	workload := testutil.NetNS(t)
	c := w.client("nsc", fd.NewClient())
	cycle := func(i int) {
		closeConn(t, c, request(t, c, ask(fmt.Sprintf("c%d", i), workload, "nsm-1")))
	}
	// The slack is for gRPC, which opens and closes connections in its own time;
	// what a cycle leaves would be there 200 times.
	const warm, cycles, slack = 20, 200, 20
	for i := range warm {
		cycle(i)
	}
	before := measure(t)
	for i := range cycles {
		cycle(warm + i)
	}
	// Ends of requests may lag behind their answers.
	testutil.Eventually(t, 10*time.Second, fmt.Sprintf("back to %+v", before), func() bool {
		now := measure(t)
		return now.goroutines <= before.goroutines+slack && now.descriptors <= before.descriptors+slack
	})
	for _, ns := range []string{workload, endpointNS, w.outside} {
		if got := links(t, ns); len(got) != 1 {
			t.Errorf("in %s: %v", ns, got)
		}
	}
}

func TestParallelAttachments(t *testing.T) {
	testutil.CheckLeaks(t)
	w := newWorld(t)
	endpointNS, _ := w.endpoint("nse-1", "10.9.0.0/16")
	c := w.client("nsc", fd.NewClient())
	var group sync.WaitGroup
	for i := range 20 {
		workload := testutil.NetNS(t)
		group.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			for round := range 3 {
				conn, err := c.Request(ctx, ask(fmt.Sprintf("c%d-%d", i, round), workload, "nsm-1"))
				if err != nil {
					t.Errorf("attach %d: %v", i, err)
					return
				}
				if _, err := c.Close(ctx, conn); err != nil {
					t.Errorf("detach %d: %v", i, err)
				}
			}
		})
	}
	group.Wait()
	if got := append(links(t, endpointNS), links(t, w.outside)...); len(got) != 2 {
		t.Errorf("remain: %v", got)
	}
}

type usage struct{ goroutines, descriptors int }

func measure(t *testing.T) usage {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return usage{runtime.NumGoroutine(), len(entries)}
}
