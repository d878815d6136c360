// SPDX-License-Identifier: Apache-2.0

package forwarder_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/weft-project/weft/internal/app/forwarder"
	"github.com/weft-project/weft/internal/config"
	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/traffic"
)

// processEnv makes the test binary a forwarder.
const processEnv = "WEFT_TEST_FORWARDER"

// maybeForwarder runs the command instead of the tests if the process is one.
func maybeForwarder() {
	if os.Getenv(processEnv) == "" {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	os.Exit(forwarder.Run(ctx, os.Args[1:], config.Environ(os.Environ()), os.Stderr))
}

// process starts the forwarder as a process of its own, in the node's namespace.
func (w *world) process(pinDir string) *exec.Cmd {
	w.t.Helper()
	cmd := exec.Command("/proc/self/exe", "--pin-dir", pinDir, "--wireguard", "off")
	cmd.Env = append(os.Environ(), processEnv+"=1", "NSM_NAME=forwarder-1", "NSM_CONNECT_TO="+w.manager.String(),
		"NSM_LISTEN_ON="+w.socket("forwarder").String(), "NSM_LOG_LEVEL=WARN")
	cmd.Stderr = w.t.Output()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := netns.Do(w.outside, cmd.Start); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { kill(cmd) })
	testutil.Eventually(w.t, 20*time.Second, "the forwarder listens", func() bool {
		conn, err := net.Dial("unix", w.socket("forwarder").Path)
		return err == nil && conn.Close() == nil
	})
	return cmd
}

func kill(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// steadyOver sends requests from a namespace to a server in another, all the time.
func steadyOver(t *testing.T, from, to string, addresses ...string) *traffic.Steady {
	t.Helper()
	const port = 7000
	var server *traffic.Server
	err := netns.Do(to, func() (err error) { server, err = traffic.Serve("gateway", port); return err })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	c := traffic.SteadyConfig{Flows: 8, Rate: 500, Dial: func(ctx context.Context, network string, _, remote netip.AddrPort) (net.Conn, error) {
		return testutil.Dial(ctx, from, network, "", remote.String())
	}}
	for _, a := range addresses {
		c.To = append(c.To, netip.AddrPortFrom(netip.MustParseAddr(a), port))
	}
	steady, err := traffic.StartSteady(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(steady.Stop)
	return steady
}

// state is what of an interface must not change.
func state(t *testing.T, netNS, name string) string {
	t.Helper()
	link := testutil.Link(t, netNS, name)
	addresses, err := testutil.Handle(t, netNS).Addresses(link.Index)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(link.Index, link.MAC, link.MTU, link.CarrierDowns, addresses)
}

// The forwarder is killed and comes back, again and again, while packets pass a
// frontend's interface in a VLAN: none is lost, nothing of the interface changes,
// and the new process changes and removes what the old one has made.
func TestForwarderKilledUnderVLANTraffic(t *testing.T) {
	testutil.CheckLeaks(t)
	testutil.Require(t, "bpf", "netns")
	w := &world{t: t, dir: t.TempDir(), outside: testutil.NetNS(t)}
	w.startMesh()
	t.Cleanup(func() { w.check(w.mesh.Stop()) })
	gateway := w.gateway(w.uplink(), 100)
	pins := testutil.PinDir(t)
	process := w.process(pins)
	w.vlanEndpoint(100)
	c := w.client("frontend", passing())
	netNS := testutil.NetNS(t)
	conn := request(t, c, ask("lb-1", netNS, "ext0"))
	for _, address := range []string{"10.9.0.1:0", "[fd09::1]:0"} { // neighbours are known from here on
		testutil.MustExchange(t, netNS, "tcp", "", testutil.Echo(t, gateway, address))
	}
	before := state(t, netNS, "ext0")
	steady := steadyOver(t, netNS, gateway, "10.9.0.1", "fd09::1")
	start := steady.Mark()
	for range 3 {
		kill(process)
		time.Sleep(300 * time.Millisecond) // packets pass with nobody in charge
		process = w.process(pins)
		conn = refresh(t, c, conn)
		if after := state(t, netNS, "ext0"); after != before {
			t.Errorf("the interface is %s, before %s", after, before)
		}
	}
	adjust(t, c, gateway)
	window := steady.Between(start, steady.Mark())
	t.Logf("%d requests, %d lost", window.Sent, window.Lost)
	if window.Lost != 0 || window.Sent < 100 {
		t.Errorf("%d of %d requests are lost, the first at %s", window.Lost, window.Sent, window.FirstLost)
	}
	closeConn(t, c, conn)
	for _, ns := range []string{netNS, w.outside} {
		for _, l := range testutil.Links(t, ns) {
			if l.Name == "ext0" || l.Kind == "veth" && l.Name != "eth0" {
				t.Errorf("%s is left in %s", l.Name, ns)
			}
		}
	}
	w.remove(pins, process)
}

// refresh repeats a request until the forwarder is registered again.
func refresh(t *testing.T, c networkservice.NetworkServiceClient, conn *networkservice.Connection) *networkservice.Connection {
	t.Helper()
	var answer *networkservice.Connection
	testutil.Eventually(t, 20*time.Second, "a refresh succeeds", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		var err error
		answer, err = c.Request(ctx, &networkservice.NetworkServiceRequest{Connection: conn.Clone()})
		return err == nil
	})
	return answer
}

// adjust has the successor make and remove another interface in the same VLAN.
func adjust(t *testing.T, c networkservice.NetworkServiceClient, gateway string) {
	t.Helper()
	netNS := testutil.NetNS(t)
	conn := request(t, c, ask("lb-2", netNS, "ext0"))
	testutil.MustExchange(t, netNS, "tcp", "", testutil.Echo(t, gateway, "10.9.0.1:0"))
	closeConn(t, c, conn)
	if slices.ContainsFunc(testutil.Links(t, netNS), func(l nl.Link) bool { return l.Name == "ext0" }) {
		t.Error("ext0 of a closed connection is left")
	}
}

// remove ends the forwarder, and takes away what it has pinned.
func (w *world) remove(pinDir string, process *exec.Cmd) {
	w.t.Helper()
	w.check(process.Process.Signal(syscall.SIGTERM))
	w.check(process.Wait())
	cleanup := exec.Command("/proc/self/exe", "--pin-dir", pinDir, "--wireguard", "off", "--cleanup")
	cleanup.Env = process.Env
	cleanup.Stderr = w.t.Output()
	w.check(netns.Do(w.outside, cleanup.Run))
	if left, err := os.ReadDir(pinDir); err == nil && len(left) != 0 {
		w.t.Errorf("pins are left: %v", left)
	}
}
