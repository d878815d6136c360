// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"errors"
	"testing"

	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/testutil/vm"
)

// TestStockKernel runs the tests of the kernel's WireGuard on a kernel that has
// it.
func TestStockKernel(t *testing.T) {
	if vm.Inside() {
		t.Skip("this is one")
	}
	vm.Run(t, "^(TestKernel.*|TestAuto)$",
		"wireguard", "vxlan", "veth", "sch_ingress", "cls_bpf", "tun")
}

// kernelHasWireGuard tells by making an interface.
func kernelHasWireGuard(t *testing.T) bool {
	t.Helper()
	testutil.Require(t, "netns")
	h := testutil.Handle(t, testutil.NetNS(t))
	err := h.AddWireGuard(nl.WireGuard{Name: "try"})
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		t.Fatal(err)
	}
	return err == nil
}

func requireKernelWireGuard(t *testing.T) {
	t.Helper()
	switch {
	case kernelHasWireGuard(t):
	case vm.Inside():
		t.Fatal("the guest's kernel has no WireGuard")
	default:
		t.Skip("this kernel has no WireGuard; TestStockKernel runs this on one that has")
	}
	testutil.Require(t, "bpf")
}

func TestKernelTunnel(t *testing.T) {
	requireKernelWireGuard(t)
	t.Run("IPv4", func(t *testing.T) { testTunnel(t, Kernel, nodeA, nodeB, 1500-60-70) })
	t.Run("IPv6", func(t *testing.T) { testTunnel(t, Kernel, "fd00::1/64", "fd00::2/64", 1500-80-70) })
}

func TestKernelRotation(t *testing.T) {
	requireKernelWireGuard(t)
	testRotation(t, Kernel, 200)
}

func TestKernelKilledManager(t *testing.T) {
	requireKernelWireGuard(t)
	testKilledManager(t, Kernel, 200)
}

// TestKernelWithProcess joins a node whose WireGuard is the kernel's to one with
// a process.
func TestKernelWithProcess(t *testing.T) {
	requireKernelWireGuard(t)
	testutil.CheckLeaks(t)
	a, b := newPair(t, Kernel, nodeA, nodeB)
	b.cfg.Mode = Userspace
	a.open()
	b.open()
	request(t, a, b, func() {})
	a.mustReach(b.serve())
}

// TestKernelInterfaceRemoved: somebody removes the interface; it comes back with
// its key.
func TestKernelInterfaceRemoved(t *testing.T) {
	requireKernelWireGuard(t)
	testutil.CheckLeaks(t)
	a, b := newPair(t, Kernel, nodeA, nodeB)
	a.open()
	b.open()
	request(t, a, b, func() {})
	to := b.serve()
	a.mustReach(to)
	offer := a.m.Offer()
	link := testutil.Link(t, a.m.Private(), a.m.current().name())
	must(t, testutil.Handle(t, a.m.Private()).DeleteLink(link.Index))
	a.mustReach(to)
	if a.m.Offer() != offer {
		t.Errorf("offer %+v, before %+v", a.m.Offer(), offer)
	}
}

// TestAuto prefers the kernel.
func TestAuto(t *testing.T) {
	has := kernelHasWireGuard(t)
	testutil.CheckLeaks(t)
	a, _ := newPair(t, Auto, nodeA, nodeB)
	a.open()
	if got := a.m.current().kernel; got != has {
		t.Errorf("WireGuard is the kernel's: %v; the kernel has it: %v", got, has)
	}
}

func TestKernelModeWithoutKernel(t *testing.T) {
	if kernelHasWireGuard(t) {
		t.Skip("this kernel has WireGuard")
	}
	testutil.CheckLeaks(t)
	a, _ := newPair(t, Kernel, nodeA, nodeB)
	if _, err := Open(a.cfg); !errors.Is(err, ErrNoWireGuard) {
		t.Errorf("kernel mode: %v, want %v", err, ErrNoWireGuard)
	}
	checkUntouched(t, a)
}
