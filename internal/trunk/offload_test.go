// SPDX-License-Identifier: Apache-2.0

package trunk

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
)

// switchOff changes a setting of an interface to 0 and makes sure that it is.
func switchOff(t testing.TB, ns, iface string, set uint32) {
	t.Helper()
	ethtool(t, ns, iface, set)
	if value := ethtool(t, ns, iface, set-1); value != 0 { // the getters come before the setters
		t.Fatalf("ethtool %#x %s: is %#x, want 0", set, iface, value)
	}
}

func ethtool(t testing.TB, ns, iface string, command uint32) (value uint32) {
	t.Helper()
	must(t, netns.Do(ns, func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(fd) }()
		order := [2]uint32{command, 0} // struct ethtool_value
		var pin runtime.Pinner         // the kernel reads by address
		defer pin.Unpin()
		pin.Pin(&order)
		request := struct { // struct ifreq
			name [unix.IFNAMSIZ]byte
			data uintptr
			_    [16]byte
		}{data: uintptr(unsafe.Pointer(&order))}
		copy(request.name[:], iface)
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
			return fmt.Errorf("ethtool %#x %s: %w", command, iface, errno)
		}
		value = order[1]
		return nil
	}))
	return value
}

// What frontends leave to be done to their packets (checksums, segments, the tag) is
// done by base interfaces that can and by the kernel for those that cannot; the
// receiver, which verifies what it gets finished, takes all of it.
func TestOffloads(t *testing.T) {
	testutil.CheckLeaks(t)
	checksums := func(ns, iface string) { switchOff(t, ns, iface, unix.ETHTOOL_STXCSUM) }
	segments := func(ns, iface string) {
		switchOff(t, ns, iface, unix.ETHTOOL_STSO)
		switchOff(t, ns, iface, unix.ETHTOOL_SGSO)
	}
	tags := func(ns, iface string) { switchOff(t, ns, iface, unix.ETHTOOL_SFLAGS) } // rxvlan and txvlan
	all := func(ns, iface string) { checksums(ns, iface); segments(ns, iface); tags(ns, iface) }
	for name, c := range map[string]struct{ base, inner func(ns, iface string) }{
		"none off":                   {},
		"checksums of the base":      {base: checksums},
		"segments of the base":       {base: segments},
		"tags of the base":           {base: tags},
		"all of the base":            {base: all},
		"checksums of the frontend":  {inner: checksums},
		"all of the frontend":        {inner: all},
		"all of base, segments left": {base: all, inner: checksums},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := wire(t)
			if c.base != nil {
				c.base(a.ns, "eth0")
			}
			for _, id := range []int{0, 100} {
				one, far := a.frontend(id, 1), b.frontend(id, 3)
				if c.inner != nil {
					c.inner(one.ns, "ext0")
				}
				transfer(t, one, far)
				transfer(t, far, one)
				transfer(t, a.frontend(id, 2), one)
			}
		})
	}
}

// The interface has the MTU of the base interface or less, and packets of exactly
// that length pass: the tag comes on top.
func TestMTU(t *testing.T) {
	testutil.CheckLeaks(t)
	for _, base := range []int{1280, 1500, 9000} {
		for _, id := range []int{0, 100} {
			t.Run(fmt.Sprintf("%d in VLAN %d", base, id), func(t *testing.T) {
				a, b := wire(t)
				for _, n := range []*node{a, b} {
					must(t, testutil.Handle(t, n.ns).SetMTU(testutil.Link(t, n.ns, "eth0").Index, base))
				}
				one, far := a.frontend(id, 1), b.frontend(id, 3)
				if got := testutil.Link(t, one.ns, "ext0").MTU; got != base {
					t.Errorf("MTU %d, want the base interface's %d", got, base)
				}
				whole(t, one, far, base)
				whole(t, far, one, base)
				transfer(t, one, far)
			})
		}
	}
}

// whole sends packets of a length that must not be cut, and longer ones, which are
// cut by whoever sends them.
func whole(t *testing.T, from, to frontend, length int) {
	t.Helper()
	for _, c := range []struct {
		address string
		headers int
	}{{to.v4 + ":0", 20 + 8}, {"[" + to.v6 + "]:0", 40 + 8}} {
		remote := testutil.Echo(t, to.ns, c.address)
		for _, size := range []int{length - c.headers - 1, length - c.headers, length - c.headers + 1, 3 * length} {
			text := strings.Repeat("x", size)
			if got, err := testutil.Exchange(from.ns, "udp", "", remote, text); err != nil || got != text {
				t.Errorf("%d bytes to %s: %d, %v", size, remote, len(got), err)
			}
		}
	}
}

// What is asked for counts if the base interface takes it, and can change without
// another interface.
func TestRequestedMTU(t *testing.T) {
	testutil.CheckLeaks(t)
	a, b := wire(t)
	one, far := newFrontend(t, 100, 1), b.frontend(100, 3)
	var first nl.Link
	for i, c := range []struct{ ask, want int }{{1400, 1400}, {1300, 1300}, {9000, 1500}, {0, 1500}, {1400, 1400}} {
		one.port.MTU = c.ask
		must(t, a.trunk.Connect(t.Context(), one.port))
		link := testutil.Link(t, one.ns, "ext0")
		if i == 0 {
			first = link
		}
		if link.MTU != c.want || link.Index != first.Index {
			t.Errorf("asked for %d: MTU %d of interface %d, want %d of %d", c.ask, link.MTU, link.Index, c.want, first.Index)
		}
		transfer(t, one, far)
	}
}
