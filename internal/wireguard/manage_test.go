// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/selfexec"
	"github.com/weft-project/weft/internal/testutil"
)

// manageEnv makes the test binary a program that manages WireGuard, and is
// killed.
const manageEnv = "WEFT_TEST_MANAGE"

type manageOrder struct {
	Config Config
	Join   Peer
}

type manageReport struct {
	Offer Offer
	Path  Path
}

func manageIfAsked() {
	text, ok := os.LookupEnv(manageEnv)
	if !ok {
		return
	}
	var order manageOrder
	if err := json.Unmarshal([]byte(text), &order); err != nil {
		panic(err)
	}
	order.Config.Log = slog.New(slog.DiscardHandler)
	m, err := open(order.Config, fastTiming, innerAddress)
	if err != nil {
		panic(err)
	}
	path, err := m.Join(context.Background(), connection, order.Join)
	if err != nil {
		panic(err)
	}
	out, _ := json.Marshal(manageReport{Offer: m.Offer(), Path: path})
	fmt.Println(string(out))
	select {}
}

// manage runs a node's Manager in a process of its own.
func (n *node) manage(join Peer) (manageReport, *exec.Cmd) {
	n.t.Helper()
	cfg := n.cfg
	cfg.Log = nil
	text, err := json.Marshal(manageOrder{Config: cfg, Join: join})
	must(n.t, err)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), manageEnv+"="+string(text))
	cmd.Stderr = n.t.Output()
	out, err := cmd.StdoutPipe()
	must(n.t, err, cmd.Start())
	n.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadBytes('\n')
	must(n.t, err)
	var report manageReport
	must(n.t, json.Unmarshal(line, &report))
	return report, cmd
}

// TestKilledManager kills the process that manages one node's WireGuard, and
// closes the other node's, under traffic.
func TestKilledManager(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testKilledManager(t, Userspace, 500)
}

func testKilledManager(t *testing.T, mode Mode, rate int) {
	testutil.CheckLeaks(t)
	a, b := newPair(t, mode, nodeA, nodeB)
	a.open()
	report, cmd := b.manage(a.peer(a.m.Offer(), Offer{}))
	t.Cleanup(func() { must(t, Remove(b.cfg.Dir)) }) // if the test fails before it adopts
	must(t, b.x.AttachDevice(report.Path.Device))
	b.stitch(report.Path, b.endpoint())
	path, err := a.m.Join(t.Context(), connection, b.peer(report.Offer, Offer{}))
	must(t, err)
	a.stitch(path, a.client(b))
	check := steady(t, a, b, rate)

	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	time.Sleep(200 * time.Millisecond) // with nobody in charge
	offer := a.m.Offer()
	must(t, a.m.Close(true))
	time.Sleep(200 * time.Millisecond)
	a.open()
	b.open()
	if a.m.Offer() != offer || b.m.Offer() != report.Offer {
		t.Errorf("after the restart %+v and %+v, before it %+v and %+v", a.m.Offer(), b.m.Offer(), offer, report.Offer)
	}
	former := b.path
	request(t, a, b, func() {})
	if b.path.Local != former.Local || b.path.Remote != former.Remote || b.path.Device != former.Device {
		t.Errorf("path %+v after the restart, before it %+v", b.path, former)
	}
	check()
}

// TestProcessDies kills the WireGuard process itself: it comes back with the same
// key and port, and traffic goes on by itself.
func TestProcessDies(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	a, b := newPair(t, Userspace, nodeA, nodeB)
	a.open()
	b.open()
	request(t, a, b, func() {})
	to := b.serve()
	a.mustReach(to)
	offer := a.m.Offer()
	for range 2 {
		a.m.mu.Lock()
		victim := a.m.current().process
		must(t, victim.Signal(syscall.SIGKILL))
		a.m.mu.Unlock()
		start := time.Now()
		testutil.Eventually(t, 20*time.Second, "another process", func() bool {
			a.m.mu.Lock()
			defer a.m.mu.Unlock()
			p := a.m.current().process
			return p != nil && p != victim
		})
		a.mustReach(to)
		t.Logf("an answer %v after the kill", time.Since(start))
	}
	if a.m.Offer() != offer {
		t.Errorf("offer %+v, before %+v", a.m.Offer(), offer)
	}
}

// TestProcessDiesUnmanaged: without a Manager the key is lost, and the next one
// makes another.
func TestProcessDiesUnmanaged(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	a, b := newPair(t, Userspace, nodeA, nodeB)
	a.open()
	b.open()
	request(t, a, b, func() {})
	to := b.serve()
	a.mustReach(to)
	offer := a.m.Offer()
	must(t, a.m.Close(true))
	p, err := selfexec.Attach(a.m.current().socket())
	must(t, err, p.End())
	a.open()
	if a.m.Offer().PublicKey == offer.PublicKey {
		t.Error("the key is the same")
	}
	request(t, a, b, func() {})
	a.mustReach(to)
}
