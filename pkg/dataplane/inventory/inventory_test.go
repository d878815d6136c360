// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/google/go-cmp/cmp"

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
	want := Objects{"map " + name: 1, "program " + name: 1}
	if diff := cmp.Diff(want, during.Minus(before)); diff != "" {
		t.Errorf("while they exist (-want +got):\n%s", diff)
	}
	_, _ = m.Close(), p.Close()
	// The kernel frees them after a grace period.
	testutil.Eventually(t, 5*time.Second, "closed objects to go", func() bool {
		after, err := Of(name)
		return err == nil && len(after.Minus(before)) == 0
	})
}

func TestPinsOfNothing(t *testing.T) {
	pins, err := Pins(t.TempDir() + "/absent")
	if err != nil || len(pins) != 0 {
		t.Errorf("got %v, %v", pins, err)
	}
}
