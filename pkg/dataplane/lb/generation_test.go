// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/testutil"
)

// generation is one life of a load balancer, as a process of its own is told.
type generation struct {
	Config  Config
	Legs    []int  // interfaces of the targets
	FirstID uint16 // of the targets' numbers
	Stream  uint32
	KillAt  string // end without a word after this step
	Close   bool   // end at once, with everything
	Silent  bool   // nothing comes in force: the process stays behind its predecessor
}

// generationEnv makes the test binary a load balancer.
const generationEnv = "WEFT_TEST_GENERATION"

func TestMain(m *testing.M) {
	if text, ok := os.LookupEnv(generationEnv); ok {
		if err := runGeneration([]byte(text)); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// runGeneration works until its input ends, then leaves everything to the next.
func runGeneration(text []byte) error {
	var g generation
	if err := json.Unmarshal(text, &g); err != nil {
		return err
	}
	afterStep = func(step string) {
		if step == g.KillAt {
			_ = unix.Kill(os.Getpid(), unix.SIGKILL)
			select {} // it is on its way
		}
	}
	l, err := g.start()
	if err != nil {
		return err
	}
	afterStep("start")
	if g.Close {
		return l.Close()
	}
	fmt.Println("works")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	return l.Abandon()
}

// start makes the generation work.
func (g generation) start() (*LB, error) {
	l, err := New(g.Config)
	if err != nil {
		return nil, err
	}
	afterStep("new")
	err = g.fill(l)
	afterStep("fill")
	if err == nil && !g.Silent {
		err = l.TakeOver()
	}
	if err != nil {
		return nil, errors.Join(err, l.Abandon())
	}
	return l, nil
}

// fill does what topology does, by other numbers.
func (g generation) fill(l *LB) error {
	rule := classify.Rule{Name: "all", Stream: g.Stream}
	for _, a := range vips {
		rule.VIPs = append(rule.VIPs, netip.PrefixFrom(a, a.BitLen()))
	}
	errs := []error{l.SetGateways(clientGateways), l.SetRules(Rules{
		VIPs: rule.VIPs, Flows: []classify.Rule{rule},
	})}
	for i, leg := range g.Legs {
		mac, own := targetMAC(i), legMAC(i)
		_, err := l.AttachLeg(leg)
		errs = append(errs, err, l.SetTarget(g.FirstID+uint16(i), Target{IfIndex: leg, MAC: mac[:], LegMAC: own[:]}))
	}
	table := make([]uint16, 997)
	for i := range table {
		table[i] = g.FirstID + uint16(i%len(g.Legs))
	}
	return errors.Join(append(errs, l.SetTable(g.Stream, table))...)
}

// process is a generation that runs.
type process struct {
	cmd *exec.Cmd
	in  io.Closer
}

// run starts a generation as a process and returns when it works. With KillAt,
// it returns when the process has ended.
func (g generation) run(t *testing.T) *process {
	t.Helper()
	text, err := json.Marshal(g)
	check(t, err)
	p := &process{cmd: exec.Command(os.Args[0])}
	p.cmd.Env = append(os.Environ(), generationEnv+"="+string(text))
	p.cmd.Stderr = os.Stderr
	p.in, err = p.cmd.StdinPipe()
	check(t, err)
	out, err := p.cmd.StdoutPipe()
	check(t, err)
	check(t, p.cmd.Start())
	t.Cleanup(p.kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	switch {
	case g.KillAt != "":
		if err == nil {
			t.Fatalf("%s: the process lives: %s", g.KillAt, line)
		}
		_ = p.cmd.Wait()
	case line != "works\n":
		t.Fatalf("generation: %q, %v", line, err)
	}
	return p
}

func (p *process) kill() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}

// stop ends the process as one that is restarted.
func (p *process) stop(t *testing.T) {
	t.Helper()
	check(t, p.in.Close())
	check(t, p.cmd.Wait())
}

// pinsOf mounts a BPF file system for the test.
func pinsOf(t *testing.T) string {
	t.Helper()
	testutil.Require(t, "bpf", "netns")
	dir := t.TempDir()
	check(t, unix.Mount("bpf", dir, "bpf", 0, ""))
	t.Cleanup(func() { check(t, unix.Unmount(dir, 0)) })
	return dir
}

// programs returns how many programs the external interface of a namespace has at
// the tcx ingress.
func programs(t *testing.T, ns string) (n int) {
	t.Helper()
	ext := testutil.Link(t, ns, "ext")
	check(t, netns.Do(ns, func() error {
		found, err := link.QueryPrograms(link.QueryOptions{Target: ext.Index, Attach: ebpf.AttachTCXIngress})
		if err == nil {
			n = len(found.Programs)
		}
		return err
	}))
	return n
}

// nothingLeft checks that a load balancer has left nothing behind.
func nothingLeft(t *testing.T, ns, dir string) {
	t.Helper()
	if n := programs(t, ns); n != 0 {
		t.Errorf("%d programs are left on the external interface", n)
	}
	if testutil.Link(t, ns, "ext").AllMulticast {
		t.Error("the external interface still receives all multicast")
	}
	blocks, err := testutil.Handle(t, ns).IngressBlocks()
	check(t, err)
	if len(blocks) != 0 {
		t.Errorf("legs keep the reply program: %v", blocks)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
		t.Errorf("pins are left: %v", left)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the pin directory is left: %v", err)
	}
}
