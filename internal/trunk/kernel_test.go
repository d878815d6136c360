// SPDX-License-Identifier: Apache-2.0

package trunk

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/testutil/vm"
	"github.com/weft-project/weft/pkg/dataplane/vlan"
)

func TestMain(m *testing.M) {
	vm.MaybeInit()
	os.Exit(m.Run())
}

// TestStockKernel runs what needs VLAN devices on a kernel that has them, and a
// restart.
func TestStockKernel(t *testing.T) {
	if vm.Inside() {
		t.Skip("this is one")
	}
	vm.Run(t, "^(TestKernel.*|TestVLANsOfOneBaseInterface|TestRestart)$", "veth", "sch_ingress", "cls_bpf", "8021q")
}

// device makes the kernel's VLAN device of an id on eth0, with the addresses that a
// frontend with that last part would have.
func (n *node) device(id, last int) frontend {
	n.t.Helper()
	f := newFrontend(n.t, id, last)
	f.ns = n.ns
	h := testutil.Handle(n.t, n.ns)
	link, err := h.AddVLAN(deviceName(id), testutil.Link(n.t, n.ns, "eth0").Index, id)
	if errors.Is(err, errors.ErrUnsupported) && !vm.Inside() {
		n.t.Skip("this kernel has no VLAN devices; TestStockKernel runs this on one that has")
	}
	must(n.t, err, h.SetUp(link.Index))
	for _, a := range f.port.Addresses {
		must(n.t, h.AddAddress(link.Index, a))
	}
	return f
}

func deviceName(id int) string { return fmt.Sprintf("eth0.%d", id) }

// transfer is reach, and more than one segment of the largest size, which nobody
// on the way cuts or sums.
func transfer(t *testing.T, from, to frontend) {
	t.Helper()
	reach(t, from, to)
	large := strings.Repeat("x", 1<<18)
	for _, address := range []string{to.v4 + ":0", "[" + to.v6 + "]:0"} {
		got, err := testutil.Exchange(from.ns, "tcp", "", testutil.Echo(t, to.ns, address), large)
		if err != nil || got != large {
			t.Errorf("256 KiB to %s: %d bytes, %v", address, len(got), err)
		}
	}
}

// The kernel's VLAN devices understand our tags, and we theirs.
func TestKernelPeer(t *testing.T) {
	testutil.CheckLeaks(t)
	a, b := wire(t)
	for _, id := range []int{1, 100, 4094} {
		peer := b.device(id, 3)
		one := a.frontend(id, 1)
		transfer(t, one, peer)
		transfer(t, peer, one)
	}
}

// A VLAN device of another id goes on beside frontends, on both sides of the wire,
// whoever came first.
func TestKernelDeviceBeside(t *testing.T) {
	testutil.CheckLeaks(t)
	a, b := wire(t)
	before, far := a.device(200, 1), b.device(200, 3)
	transfer(t, before, far)
	one, other := a.frontend(100, 1), b.frontend(100, 3)
	after, farAfter := a.device(300, 1), b.device(300, 3)
	for _, pair := range [][2]frontend{{before, far}, {one, other}, {after, farAfter}} {
		transfer(t, pair[0], pair[1])
		transfer(t, pair[1], pair[0])
	}
	transfer(t, a.frontend(0, 1), b.frontend(0, 3)) // untagged, too
	transfer(t, before, far)
	counters, err := a.trunk.Counters()
	must(t, err)
	for _, reason := range []vlan.Reason{vlan.NoPort, vlan.Stale, vlan.Rewrite, vlan.Tagged, vlan.UnknownMAC} {
		if counters[reason] != 0 {
			t.Errorf("%d frames are %v", counters[reason], reason)
		}
	}
	must(t, a.trunk.Close(false), b.trunk.Close(false))
	transfer(t, before, far)
}

// A VLAN that a VLAN device has is refused by the device's name, and nothing
// remains; without the device it is taken.
func TestKernelDeviceOfSameID(t *testing.T) {
	testutil.CheckLeaks(t)
	a, b := wire(t)
	device, far := a.device(200, 1), b.device(200, 3)
	links := len(testutil.Links(t, a.ns))
	refused := newFrontend(t, 200, 2)
	err := a.trunk.Connect(t.Context(), refused.port)
	if !errors.Is(err, ErrVLANTaken) || !strings.Contains(err.Error(), deviceName(200)) || !strings.Contains(err.Error(), "VLAN 200 of eth0") {
		t.Fatalf("%v, want %v with the device and the VLAN", err, ErrVLANTaken)
	}
	t.Log(err)
	if now := len(testutil.Links(t, a.ns)); now != links || a.trunk.Len() != 0 || len(a.trunk.plane.Ports()) != 0 {
		t.Errorf("%d interfaces, before %d; %d entries", now, links, a.trunk.Len())
	}
	transfer(t, device, far)
	must(t, testutil.Handle(t, a.ns).DeleteLink(testutil.Link(t, a.ns, deviceName(200)).Index))
	must(t, a.trunk.Connect(t.Context(), refused.port))
	transfer(t, refused, far)
}

// A device that comes after the frontends gets nothing of their VLAN and takes
// nothing from them; the next request says so.
func TestKernelDeviceComesLater(t *testing.T) {
	testutil.CheckLeaks(t)
	a, b := wire(t)
	one, far := a.frontend(100, 1), b.frontend(100, 3)
	a.device(100, 2)
	transfer(t, one, far)
	before := testutil.Link(t, one.ns, "ext0")
	if err := a.trunk.Connect(t.Context(), one.port); !errors.Is(err, ErrVLANTaken) {
		t.Errorf("%v, want %v", err, ErrVLANTaken)
	}
	transfer(t, far, one)
	after := testutil.Link(t, one.ns, "ext0")
	addresses, err := testutil.Handle(t, one.ns).Addresses(after.Index)
	must(t, err)
	for _, want := range one.port.Addresses {
		if !slices.Contains(addresses, want) {
			t.Errorf("%s has gone", want)
		}
	}
	if after.Index != before.Index {
		t.Error("the interface was made again")
	}
}
