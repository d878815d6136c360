// SPDX-License-Identifier: Apache-2.0

package endpoint_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/app/endpoint"
	"github.com/weft-project/weft/internal/app/mesh"
	"github.com/weft-project/weft/internal/balancer"
	"github.com/weft-project/weft/internal/balancer/lbtest"
	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/traffic"
	"github.com/weft-project/weft/pkg/dataplane/lb"
)

// life is one process of an endpoint.
type life struct {
	Config  endpoint.Config
	Balance balancer.Config
}

// lifeEnv makes the test binary an endpoint.
const lifeEnv = "WEFT_TEST_ENDPOINT"

func TestMain(m *testing.M) {
	if text, ok := os.LookupEnv(lifeEnv); ok {
		quiet()
		if err := live([]byte(text)); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// live serves until its input ends, and tells what it has come to. It leaves the
// data path to the next process, unless its input has something to say.
func live(text []byte) error {
	var l life
	if err := json.Unmarshal(text, &l); err != nil {
		return err
	}
	c, err := endpoint.Start(context.Background(), l.Config, endpoint.Deps{Security: mesh.Plain(time.Minute), Balance: l.Balance})
	if err != nil {
		return err
	}
	fmt.Println("serves")
	if err := c.Balancer().Wait(context.Background(), func(s balancer.Snapshot) bool { return !s.Shadow }); err != nil {
		return err
	}
	fmt.Println("works")
	switch order, err := io.ReadAll(os.Stdin); {
	case err != nil:
		return err
	case len(order) > 0:
		return c.Stop(context.Background())
	}
	return c.Abandon(context.Background())
}

// process is a life that runs.
type process struct {
	t   testing.TB
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// run starts an endpoint as a process and returns when it is registered.
func (l life) run(t testing.TB) *process {
	t.Helper()
	text, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: exec.Command(os.Args[0])}
	p.cmd.Env = append(os.Environ(), lifeEnv+"="+string(text))
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	p.expect("serves")
	return p
}

// expect waits for what the process has come to.
func (p *process) expect(want string) {
	p.t.Helper()
	if line, err := p.out.ReadString('\n'); line != want+"\n" {
		p.t.Fatalf("endpoint: %q, %v, want %q", line, err, want)
	}
}

func (p *process) kill() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}

// restart ends the process as one that another follows.
func (p *process) restart() {
	p.t.Helper()
	_ = p.in.Close()
	if err := p.cmd.Wait(); err != nil {
		p.t.Fatalf("endpoint: %v", err)
	}
}

// stop ends the process and the endpoint.
func (p *process) stop() {
	p.t.Helper()
	_, _ = p.in.Write([]byte("stop"))
	p.restart()
}

// lives is a node whose only replica is processes, one after the other.
type lives struct {
	*node
	life   life
	number int
	conns  []*networkservice.Connection
}

func newLives(t *testing.T) *lives {
	n := newNode(t)
	bpffs := t.TempDir()
	n.must(unix.Mount("bpf", bpffs, "bpf", 0, ""))
	t.Cleanup(func() { n.must(unix.Unmount(bpffs, 0)) })
	pins := filepath.Join(bpffs, "lb-1")
	l := &lives{node: n, life: life{Config: endpoint.Config{
		Name: "lb-1", ConnectTo: n.mesh.URL(), ListenOn: n.socket("lb-1"), PassSocket: true,
		Trench: "trench-a", Conduit: "lb",
		NetNS: n.router.AddReplica(), ExternalInterface: lbtest.External, PinDir: pins,
		CIDRPrefixes: []netip.Prefix{netip.MustParsePrefix("172.16.1.0/24"), netip.MustParsePrefix("fd16:1::/64")},
		TableSize:    4099, Grace: 20 * time.Second,
	}, Balance: n.router.Config(1)}}
	t.Cleanup(func() { n.must(lb.Discard(pins)) })
	return l
}

// next starts the next process: another version, with other maps.
func (l *lives) next() *process {
	l.t.Helper()
	l.number++
	l.life.Config.MaxTargets, l.life.Config.MaxStreams = 100+64*l.number, 4+l.number
	l.life.Config.MaxFlows, l.life.Config.MaxFragments = 1000+l.number, 64<<l.number
	return l.life.run(l.t)
}

// request has the workloads attach, or attach again, as their agent does.
func (l *lives) request(connections ...*networkservice.Connection) {
	l.t.Helper()
	l.conns = nil
	for _, conn := range connections {
		answer, err := l.node.request(conn, "web")
		l.must(err)
		l.conns = append(l.conns, answer)
	}
}

// dial dials from the router.
func (l *lives) dial() traffic.Dialer {
	return traffic.DialIn(func(fn func() error) error { return netns.Do(l.router.NetNS, fn) })
}

// steadyRate is what the issue of a restart is measured at. Shared machines do
// less.
const (
	steadyRate  = 20_000
	steadyFlows = 200
)

// TestRestartUnderLoad restarts an endpoint's process and kills it, each time to
// one with other maps, while packets are echoed and TCP connections live: none
// is lost, none breaks, no flow moves.
func TestRestartUnderLoad(t *testing.T) {
	l := newLives(t)
	p := l.next()
	p.expect("works")
	var connections []*networkservice.Connection
	for range 3 {
		w := l.addWorkload()
		connections = append(connections, l.connection(w, 1))
		l.request(connections[len(connections)-1])
		connections[len(connections)-1] = l.conns[0]
		var server *traffic.Server
		l.must(netns.Do(w.netNS, func() (err error) {
			server, err = traffic.Serve(w.name, port)
			return err
		}))
		t.Cleanup(server.Close)
	}
	l.conns = connections
	to := []netip.AddrPort{netip.AddrPortFrom(lbtest.VIP4, port), netip.AddrPortFrom(lbtest.VIP6, port)}
	testutil.Eventually(t, 10*time.Second, "answers", func() bool {
		tally := traffic.AskMany(l.dial(), "udp", to, 64, 8, time.Second)
		return tally.Answered == tally.Asked
	})
	pool, err := traffic.StartPool(l.dial(), to, 12)
	l.must(err)
	t.Cleanup(pool.Stop)
	steady, err := traffic.StartSteady(traffic.SteadyConfig{To: to, Flows: steadyFlows, Rate: steadyRate, Dial: l.dial()})
	l.must(err)
	t.Cleanup(steady.Stop)
	begin := steady.Mark()
	for i := range 4 {
		from := steady.Mark()
		if i%2 == 0 {
			p.kill()
		} else {
			p.restart()
		}
		pool.Settle(12) // nobody is there
		p = l.next()
		l.request(l.conns...)
		p.expect("works")
		w := steady.Between(from, steady.Mark())
		t.Logf("process %d: %d of %d packets lost, %.0f per second, %d flows moved", l.number, w.Lost, w.Sent, w.Rate, w.MovedFlows)
	}
	if s := pool.Settle(12); s.Broken != 0 {
		t.Errorf("TCP connections: %+v", s)
	}
	w := steady.Between(begin, steady.Mark())
	if w.Lost != 0 || w.MovedFlows != 0 || len(w.ByServer) != 3 {
		t.Errorf("%d of %d packets lost, %d flows moved, answers by %v", w.Lost, w.Sent, w.MovedFlows, w.ByServer)
	}
	for _, conn := range l.conns {
		l.close(conn)
	}
	p.stop()
	if _, err := os.Stat(l.life.Config.PinDir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the pin directory is left: %v", err)
	}
}

// TestRestartWithoutPins: the data path of a killed process is gone, and the next
// one takes its name and socket at once, though the registration still stands.
func TestRestartWithoutPins(t *testing.T) {
	l := newLives(t)
	l.life.Config.PinDir = ""
	w := l.addWorkload()
	p := l.next()
	p.expect("works")
	l.request(l.connection(w, 1))
	l.serve(w)
	l.exchange()
	for range 2 {
		p.kill()
		start := time.Now()
		p = l.next()
		p.expect("works")
		registered := time.Since(start)
		l.request(l.conns...)
		t.Logf("registered %v after the kill, attached again after %v", registered, time.Since(start))
		l.exchange()
	}
	l.close(l.conns[0])
	p.stop()
}

// TestRestartWithALoss: a target that ends while nobody is there is not waited for
// when the others are back, and not for long while they are not.
func TestRestartWithALoss(t *testing.T) {
	l := newLives(t)
	l.life.Config.Grace = time.Hour
	p := l.next()
	p.expect("works")
	var workloads []workload
	var connections []*networkservice.Connection
	for range 3 {
		w := l.addWorkload()
		workloads = append(workloads, w)
		l.request(l.connection(w, 1))
		connections = append(connections, l.conns...)
		l.serve(w)
	}
	l.exchange()
	p.kill()
	n := workloads[0].netNS
	l.must(testutil.Handle(t, n).SetDown(testutil.Link(t, n, "nsm-1").Index))
	p = l.next()
	l.request(connections[1:]...)
	p.expect("works")
	l.exchange()

	p.kill()
	p = l.next()
	l.request(connections[1])
	n = workloads[2].netNS
	l.must(testutil.Handle(t, n).SetDown(testutil.Link(t, n, "nsm-1").Index))
	p.expect("works")
	l.exchange()
	for _, conn := range connections {
		// Those that have not come back are unknown to the endpoint.
		_, _ = l.client.Close(t.Context(), conn)
	}
	p.stop()
}
