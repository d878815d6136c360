// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// Before Linux 6.9, verifiers round frames up more than later ones do: what calls
// each other may have 512 bytes of them.
const (
	frameStep = 32
	frameMost = 512
)

// function is what the verifier sees of a function when it adds frames up.
type function struct {
	frame int
	calls []string
}

// functions splits a linked program, whose first instruction is its own function's.
func functions(insns asm.Instructions) (first string, all map[string]*function) {
	all = map[string]*function{}
	var name string
	var copies [asm.R10]bool // registers that are copies of the frame pointer
	for _, ins := range insns {
		if s := ins.Symbol(); s != "" && !strings.HasPrefix(s, "LBB") {
			name, copies = s, [asm.R10]bool{}
			all[name] = &function{}
			if first == "" {
				first = name
			}
		}
		f := all[name]
		switch {
		case ins.IsFunctionReference():
			f.calls = append(f.calls, ins.Reference())
		case ins.OpCode.Class().IsStore() && ins.Dst == asm.R10, ins.OpCode.Class().IsLoad() && ins.Src == asm.R10:
			f.frame = max(f.frame, -int(ins.Offset))
		case ins.OpCode.Class() == asm.ALU64Class && ins.OpCode.ALUOp() == asm.Mov:
			copies[ins.Dst] = ins.OpCode.Source() == asm.RegSource && ins.Src == asm.R10
		case ins.OpCode.Class() == asm.ALU64Class && ins.OpCode.ALUOp() == asm.Add && copies[ins.Dst]:
			f.frame, copies[ins.Dst] = max(f.frame, -int(ins.Constant)), false
		}
	}
	return first, all
}

// deepest returns the sum of the frames of the worst chain of calls, and the chain.
func deepest(all map[string]*function, name string) (int, []string) {
	var below int
	var chain []string
	for _, callee := range all[name].calls {
		if depth, calls := deepest(all, callee); depth > below {
			below, chain = depth, calls
		}
	}
	frame := max(1, all[name].frame)
	return (frame+frameStep-1)/frameStep*frameStep + below, slices.Insert(chain, 0, name)
}

// TestFrames has the stack small enough for the verifiers of the oldest kernels
// that are supported, whatever kernel it runs on.
func TestFrames(t *testing.T) {
	for _, from := range []func() (*ebpf.CollectionSpec, error){loadBpf, loadXdp} {
		spec, err := from()
		check(t, err)
		for _, prog := range spec.Programs {
			first, all := functions(prog.Instructions)
			if prog.Name != "lb_egress" && prog.Name != "lb_probe" && (all[first].frame == 0 || len(all) < 5) {
				t.Errorf("%s: frame of %d bytes, %d functions: misread", first, all[first].frame, len(all))
			}
			depth, chain := deepest(all, first)
			t.Logf("%d bytes: %s", depth, strings.Join(chain, " "))
			if depth > frameMost {
				t.Errorf("%d bytes of stack, want at most %d: %s", depth, frameMost, strings.Join(chain, " "))
			}
		}
	}
}
