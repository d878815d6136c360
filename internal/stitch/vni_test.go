// SPDX-License-Identifier: Apache-2.0

package stitch

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/vxlan"

	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/pkg/dataplane/xconnect"
)

var (
	nodeA = netip.MustParseAddr("192.0.2.1")
	nodeB = netip.MustParseAddr("192.0.2.2")
)

// between is a tunnel of device 7, without VNI.
func between(local, remote netip.Addr) Tunnel {
	return Tunnel{Tunnel: xconnect.Tunnel{Device: 7, Local: local, Remote: remote}}
}

// Two nodes that choose for each other's connections never choose the same; and
// they choose as upstream's forwarders would.
func TestVNIsDoNotCollide(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	a, b := newNode(t, Options{}), newNode(t, Options{})
	upstream := vxlan.ToMechanism(&networkservice.Mechanism{Type: vxlan.MECHANISM})
	taken := map[uint32]string{}
	for i := range 5000 {
		for _, end := range []struct {
			n             *node
			local, remote netip.Addr
		}{{a, nodeA, nodeB}, {b, nodeB, nodeA}} {
			id := fmt.Sprint(end.local, " ", i)
			vni, err := end.n.ReserveVNI(id, between(end.local, end.remote), 0)
			if err != nil {
				t.Fatal(err)
			}
			if other := taken[vni]; other != "" || vni == 0 || vni >= controlVNI {
				t.Fatalf("VNI %d of %s is %s's, too", vni, id, other)
			}
			taken[vni] = id
			upstream.SetSrcIP(end.remote.AsSlice()).SetDstIP(end.local.AsSlice())
			if upstream.EvenVNI() != (vni%2 == 0) {
				t.Fatalf("VNI %d from %s to %s: upstream has it the other way", vni, end.remote, end.local)
			}
			if again, err := end.n.ReserveVNI(id, between(end.local, end.remote), 0); err != nil || again != vni {
				t.Fatalf("asked again: %d, %v, want %d", again, err, vni)
			}
		}
	}
}

func TestReserveVNI(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	n := newNode(t, Options{})
	tunnel := between(nodeB, nodeA)
	reserve := func(id string, want uint32) (uint32, error) { return n.ReserveVNI(id, tunnel, want) }
	if vni, err := reserve("one", 4711); err != nil || vni != 4711 {
		t.Fatal(vni, err)
	}
	if _, err := reserve("two", 4711); !errors.Is(err, ErrTunnelTaken) {
		t.Errorf("the VNI of another: %v", err)
	}
	for _, bad := range []uint32{controlVNI, maxVNI + 1} {
		if _, err := reserve("two", bad); !errors.Is(err, ErrNoVNI) {
			t.Errorf("VNI %d: %v", bad, err)
		}
	}
	if vni, err := n.ReserveVNI("two", between(nodeB, netip.MustParseAddr("192.0.2.3")), 4711); err != nil || vni != 4711 {
		t.Errorf("the same VNI to another node: %d, %v", vni, err)
	}
	if vni, err := reserve("one", 4713); err != nil || vni != 4713 {
		t.Errorf("another one: %d, %v", vni, err)
	}
	if vni, err := reserve("three", 4711); err != nil || vni != 4711 {
		t.Errorf("one that was given up: %d, %v", vni, err)
	}
	n.ReleaseVNI("one")
	n.ReleaseVNI("one")
	if vni, err := reserve("four", 4713); err != nil || vni != 4713 {
		t.Errorf("one that was released: %d, %v", vni, err)
	}
}
