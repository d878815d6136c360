// SPDX-License-Identifier: Apache-2.0

package bpftest

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

const progTestRun = 10 // BPF_PROG_TEST_RUN

// testRun is the test member of union bpf_attr.
type testRun struct {
	fd, retval         uint32
	sizeIn, sizeOut    uint32
	dataIn, dataOut    uint64
	repeat, duration   uint32
	ctxSizeIn, ctxSize uint32
	ctxIn, ctxOut      uint64
	flags, cpu, batch  uint32
	_                  uint32
}

// Time runs a tc program on a frame of interface ifindex (in the namespace of
// the calling thread), repeat times without restoring the frame in between, and
// returns the mean time of a run in whole nanoseconds. ebpf.Program.Benchmark
// cannot name an interface.
func Time(p *ebpf.Program, frame []byte, ifindex, repeat int) (time.Duration, error) {
	var ctx [11]uint32                                 // the head of struct __sk_buff
	ctx[9], ctx[10] = uint32(ifindex), uint32(ifindex) // ingress_ifindex, ifindex
	attr := testRun{
		fd: uint32(p.FD()), sizeIn: uint32(len(frame)), repeat: uint32(repeat),
		dataIn:    uint64(uintptr(unsafe.Pointer(unsafe.SliceData(frame)))),
		ctxSizeIn: uint32(unsafe.Sizeof(ctx)),
		ctxIn:     uint64(uintptr(unsafe.Pointer(&ctx))),
	}
	var pin runtime.Pinner // the kernel reads by address
	defer pin.Unpin()
	pin.Pin(unsafe.SliceData(frame))
	pin.Pin(&ctx)
	for {
		_, _, errno := unix.Syscall(unix.SYS_BPF, progTestRun, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
		switch errno {
		case 0:
			return time.Duration(attr.duration), nil
		case unix.EINTR: // nothing is known of an interrupted run
		default:
			return 0, fmt.Errorf("test run: %w", errno)
		}
	}
}

// Empty returns a tc program that does nothing: the cost of the test run.
func Empty(t testing.TB) *ebpf.Program {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, -1), asm.Return()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// Median returns the median of v, which it sorts.
func Median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}
