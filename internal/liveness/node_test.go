// SPDX-License-Identifier: Apache-2.0

package liveness_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/liveness"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/stitch"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/tunnel"
	"github.com/weft-project/weft/pkg/dataplane/xconnect"
)

// limit is generous: others use the machine, too.
const limit = 20 * time.Second

// childEnv holds the side that this binary shall run instead of the tests.
const childEnv = "WEFT_LIVENESS_SIDE"

func TestMain(m *testing.M) {
	if config := os.Getenv(childEnv); config != "" {
		if err := runChild(config); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// side is one node's forwarder, as far as liveness is concerned.
type side struct {
	NetNS         string
	Local, Remote netip.Addr
	Pins          string // empty: none
	Tunnels       int    // with the VNIs from 1 on

	device *tunnel.Device
	x      *xconnect.XConnect
	*liveness.Liveness

	mu    sync.Mutex
	calls int             // of Changed
	told  map[uint32]bool // what Carrier returned then, by VNI
}

// open starts it. keep is what close does with the kernel's state.
func (s *side) open() (err error) {
	if s.device, err = tunnel.Open(tunnel.Config{NetNS: s.NetNS}); err != nil {
		return err
	}
	if s.x, err = xconnect.Open(xconnect.Config{NetNS: s.NetNS, PinDir: s.Pins}); err != nil {
		return errors.Join(err, s.device.Close(false))
	}
	s.told = map[uint32]bool{}
	s.Liveness, err = liveness.New(liveness.Options{
		Plane: s.x, Underlay: func(int) string { return s.NetNS }, Logger: slog.New(slog.DiscardHandler),
		Changed: func(t xconnect.Tunnel) {
			up, _ := s.Carrier(stitch.Tunnel{Tunnel: t})
			s.mu.Lock()
			defer s.mu.Unlock()
			s.calls++
			s.told[t.VNI] = up
		},
	})
	if err != nil {
		return errors.Join(err, s.x.Close(false), s.device.Close(false))
	}
	if err := s.x.AttachDevice(s.device.Index()); err != nil {
		return errors.Join(err, s.close())
	}
	for i := range s.Tunnels {
		t := s.tunnel(uint32(i + 1))
		if err := s.x.SetTunnel(t.Tunnel, xconnect.TunnelPort{IfIndex: s.device.Index()}); err != nil {
			return errors.Join(err, s.close())
		}
		s.Join(t)
	}
	return nil
}

func (s *side) close() error {
	return errors.Join(s.Close(), s.x.Close(false), s.device.Close(false))
}

func (s *side) tunnel(vni uint32) stitch.Tunnel {
	return stitch.Tunnel{
		Tunnel:  xconnect.Tunnel{Device: s.device.Index(), Local: s.Local, Remote: s.Remote, VNI: vni},
		Signals: true,
	}
}

func (s *side) takeCalls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := s.calls
	s.calls = 0
	return calls
}

// all says that all far ends are seen so, and that Changed was called for it.
func (s *side) all(up bool) func() bool {
	return func() bool {
		for i := range s.Tunnels {
			vni := uint32(i + 1)
			if got, known := s.Carrier(s.tunnel(vni)); got != up || !known {
				return false
			}
			s.mu.Lock()
			told, ok := s.told[vni]
			s.mu.Unlock()
			if !ok || told != up {
				return false
			}
		}
		return true
	}
}

func (s *side) setAll(up bool) {
	for i := range s.Tunnels {
		s.SetCarrier(s.tunnel(uint32(i+1)), up)
	}
}

// runChild runs a side that has carrier as its standard input says, line by line,
// and answers each line.
func runChild(config string) error {
	s := &side{}
	if err := json.Unmarshal([]byte(config), s); err != nil {
		return err
	}
	if err := s.open(); err != nil {
		return err
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		s.setAll(lines.Text() == "up")
		fmt.Println("done")
	}
	return s.close()
}

// child is a side in a process of its own.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func start(t *testing.T, s *side) *child {
	t.Helper()
	config, err := json.Marshal(s)
	must(t, err)
	c := &child{cmd: exec.Command("/proc/self/exe")}
	c.cmd.Env = append(os.Environ(), childEnv+"="+string(config))
	c.cmd.Stderr = os.Stderr
	c.in, err = c.cmd.StdinPipe()
	must(t, err)
	out, err := c.cmd.StdoutPipe()
	must(t, err)
	c.out = bufio.NewReader(out)
	must(t, c.cmd.Start())
	return c
}

// say returns when the child has done so.
func (c *child) say(t *testing.T, carrier string) {
	t.Helper()
	_, err := io.WriteString(c.in, carrier+"\n")
	must(t, err)
	if answer, err := c.out.ReadString('\n'); strings.TrimSpace(answer) != "done" {
		t.Fatalf("child answers %q, %v", answer, err)
	}
}

func (c *child) stop(t *testing.T) {
	t.Helper()
	_ = c.in.Close()
	must(t, c.cmd.Wait())
}

func (c *child) kill(t *testing.T) {
	t.Helper()
	must(t, c.cmd.Process.Kill())
	_ = c.cmd.Wait()
	_ = c.in.Close()
}

// newSides makes two nodes on one underlay; neither is started.
func newSides(t *testing.T, prefixes [2]string, tunnels int) (a, b *side, underlay nl.Link) {
	t.Helper()
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	a, b = &side{NetNS: testutil.NetNS(t), Tunnels: tunnels}, &side{NetNS: testutil.NetNS(t), Tunnels: tunnels}
	ha, hb := testutil.Handle(t, a.NetNS), testutil.Handle(t, b.NetNS)
	underlay, peer, err := ha.AddVeth(nl.Veth{Name: "u0", PeerName: "u0", PeerNetNS: b.NetNS, PeerUp: true})
	must(t, err, ha.SetUp(underlay.Index))
	pa, pb := netip.MustParsePrefix(prefixes[0]), netip.MustParsePrefix(prefixes[1])
	must(t, ha.AddAddress(underlay.Index, pa), hb.AddAddress(peer.Index, pb))
	a.Local, a.Remote, b.Local, b.Remote = pa.Addr(), pb.Addr(), pb.Addr(), pa.Addr()
	return a, b, underlay
}

// run starts the side in this process.
func (s *side) run(t *testing.T) {
	t.Helper()
	must(t, s.open())
	t.Cleanup(func() { must(t, s.close()) })
}

// bpffs mounts one.
func bpffs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	must(t, unix.Mount("bpf", dir, "bpf", 0, ""))
	t.Cleanup(func() { must(t, unix.Unmount(dir, 0)) })
	return dir + "/weft"
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

var ipv4 = [2]string{"192.0.2.1/24", "192.0.2.2/24"}
