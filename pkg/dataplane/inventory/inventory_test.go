// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/testutil"
)

func TestOfSeesObjectsComeAndGo(t *testing.T) {
	testutil.Require(t, "bpf")
	const name = "inv_test_x"
	before, err := Of(name)
	if err != nil {
		t.Fatal(err)
	}
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: name, Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: name, Type: ebpf.SchedCLS, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}})
	if err != nil {
		t.Fatal(err)
	}
	during, err := Of(name)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for o := range during.Minus(before) {
		got[o.Kind+" "+o.Name]++
	}
	if diff := cmp.Diff(map[string]int{"map " + name: 1, "program " + name: 1}, got); diff != "" {
		t.Errorf("while they exist (-want +got):\n%s", diff)
	}
	if held := during.Minus(before).HeldElsewhere(); len(held) != 0 {
		t.Errorf("our own objects are held elsewhere: %v", held)
	}
	other := exec.Command("sleep", "60")
	other.ExtraFiles = []*os.File{os.NewFile(uintptr(duplicate(t, m.FD())), "map")}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	if held := during.Minus(before).HeldElsewhere(); len(held) != 1 {
		t.Errorf("with the map in another process, held elsewhere: %v", held)
	}
	_ = other.Process.Kill()
	_ = other.Wait()
	_ = other.ExtraFiles[0].Close()
	_, _ = m.Close(), p.Close()
	// The kernel frees them after a grace period.
	testutil.Eventually(t, 5*time.Second, "closed objects to go", func() bool {
		after, err := Of(name)
		return err == nil && len(after.Minus(before)) == 0
	})
}

func duplicate(t *testing.T, fd int) int {
	t.Helper()
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestPinsOfNothing(t *testing.T) {
	pins, err := Pins(t.TempDir() + "/absent")
	if err != nil || len(pins) != 0 {
		t.Errorf("got %v, %v", pins, err)
	}
}
