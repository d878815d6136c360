// SPDX-License-Identifier: Apache-2.0

package tunnelmech_test

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/cls"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/vxlan"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms/vxlan/vni"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanismtranslation"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/null"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weft-project/weft/internal/stitch"
	"github.com/weft-project/weft/pkg/dataplane/xconnect"
	"github.com/weft-project/weft/pkg/networkservice/tunnelmech"
)

func pair(t *testing.T) (a, b *node) {
	b = newNode(t, "forwarder-b", addressB, nil)
	b.start(ours)
	a = newNode(t, "forwarder-a", addressA, b.url)
	a.start(ours)
	return a, b
}

func tunnel(device int, local, remote string, vni uint32, signals bool) *stitch.Tunnel {
	return &stitch.Tunnel{Signals: signals, Tunnel: xconnect.Tunnel{
		Device: device, Local: netip.MustParseAddr(local), Remote: netip.MustParseAddr(remote), VNI: vni,
	}}
}

func wantSides(t *testing.T, n *node, client, endpoint *stitch.Tunnel) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if diff := cmp.Diff([]*stitch.Tunnel{client, endpoint}, n.sides, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("%s (-want +got):\n%s", n.name, diff)
	}
}

func TestVXLAN(t *testing.T) {
	a, b := pair(t)
	a.config.Underlay.(*underlay).mtu = 1430 // the way back is wider
	a.stop()
	a.start(ours)
	w := newWorkload(t, a)
	for range 3 { // refreshes change nothing
		w.must()
		wantSides(t, a, nil, tunnel(5, addressA, addressB, 100, true))
		wantSides(t, b, tunnel(5, addressB, addressA, 100, true), nil)
		if got := w.conn.GetContext().GetMTU(); got != 1430 {
			t.Errorf("the workload gets MTU %d", got)
		}
		if got := b.asked.GetConnection().GetContext().GetMTU(); got != 1430 {
			t.Errorf("the endpoint is told MTU %d", got)
		}
		if got := w.conn.GetMechanism().GetType(); got != kernel.MECHANISM {
			t.Errorf("the workload gets mechanism %s", got)
		}
	}
	want := map[string]string{
		"src_ip": addressA, "src_port": "4789", "src_weft": "1", "dst_ip": addressB, "dst_port": "4789", "dst_weft": "1", "vni": "100",
	}
	if diff := cmp.Diff(want, b.asked.GetConnection().GetMechanism().GetParameters()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	w.close()
	w.close()
	if diff := cmp.Diff([]string{"reserve 100", "release 100"}, b.vnis.log); diff != "" {
		t.Error(diff)
	}
	if len(b.closed) != 1 || b.closed[0].GetMechanism().GetParameters()["vni"] != "100" {
		t.Errorf("closed %v", b.closed)
	}
}

// A forwarder that restarts has forgotten the connection; the other has not, or
// the data path tells.
func TestRestarts(t *testing.T) {
	a, b := pair(t)
	w := newWorkload(t, a)
	w.must()
	for _, n := range []*node{b, a, b} {
		n.stop()
		if n == b { // the stitcher of the next process has adopted nothing
			b.vnis.held, b.vnis.log = nil, []string{"other", "other"}
		}
		n.start(ours)
		w.must()
		wantSides(t, a, nil, tunnel(5, addressA, addressB, 100, true))
		wantSides(t, b, tunnel(5, addressB, addressA, 100, true), nil)
	}
	// It has given the VNI to somebody else meanwhile.
	b.stop()
	b.vnis.held, b.vnis.taken = nil, map[uint32]bool{100: true}
	b.start(ours)
	w.must()
	fresh := a.sides[1].VNI
	if fresh == 100 {
		t.Error("two connections with one VNI")
	}
	wantSides(t, b, tunnel(5, addressB, addressA, fresh, true), nil)
	w.close()
	if b.vnis.count() != 0 {
		t.Errorf("VNIs remain: %v", b.vnis.held)
	}
}

func TestFailedRequestReleases(t *testing.T) {
	a, b := pair(t)
	w := newWorkload(t, a)
	for _, n := range []*node{a, b} {
		n.fail = status.Error(codes.ResourceExhausted, "full")
		if err := w.ask(); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("%s: %v", n.name, err)
		}
		n.fail = nil
		if b.vnis.count() != 0 {
			t.Errorf("VNIs remain: %v", b.vnis.held)
		}
	}
	// A failed refresh keeps everything.
	w.must()
	vni := a.sides[1].VNI
	b.fail = status.Error(codes.Internal, "busy")
	if err := w.ask(); err == nil {
		t.Error("no error")
	}
	b.fail = nil
	w.must()
	wantSides(t, a, nil, tunnel(5, addressA, addressB, vni, true))
}

func TestRefused(t *testing.T) {
	a, b := pair(t)
	for name, tc := range map[string]struct {
		change func()
		code   codes.Code
		want   string
	}{
		"no tunnels at A":  {func() { a.config.Underlay = nil }, codes.FailedPrecondition, "this node has no tunnels to others"},
		"no tunnels at B":  {func() { b.config.Underlay = nil }, codes.FailedPrecondition, "VXLAN: this node has no tunnels"},
		"the same address": {func() { b.config.Underlay = &underlay{5, addressA, 1450} }, codes.FailedPrecondition, "has the address of this one, " + addressA},
		"other IP version": {func() { b.config.Underlay = &underlay{5, "2001:db8::1", 1450} }, codes.FailedPrecondition, "not of the same IP version"},
		"required at A":    {func() { a.labels = tunnelmech.Labels("wireguard", "required") }, codes.FailedPrecondition, "requires WIREGUARD: encryption is switched off on this node"},
		"required at B":    {func() { b.labels = tunnelmech.Labels("wireguard", "required") }, codes.FailedPrecondition, "the network service lb.trench-a requires WIREGUARD"},
		"required and unavailable": {func() {
			a.labels = tunnelmech.Labels("wireguard", "required")
			a.config.Encrypted = &encrypted{err: errors.New("no such module")}
		}, codes.FailedPrecondition, "encryption is not available on this node: no such module"},
		"bad label": {func() { a.labels = tunnelmech.Labels("ipsec", "") }, codes.FailedPrecondition, `labels of endpoint lb-1: mechanism "ipsec" is neither vxlan nor wireguard`},
	} {
		t.Run(name, func(t *testing.T) {
			beforeA, beforeB := a.config, b.config
			tc.change()
			for _, n := range []*node{a, b} {
				n.stop()
				n.start(ours)
			}
			if err := newWorkload(t, a).ask(); status.Code(err) != tc.code || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
			a.config, b.config, a.labels, b.labels = beforeA, beforeB, nil, nil
			if b.vnis.count() != 0 {
				t.Errorf("VNIs remain: %v", b.vnis.held)
			}
		})
	}
}

func TestWireGuard(t *testing.T) {
	a, b := pair(t)
	keysA := &encrypted{offer: tunnelmech.Offer{Port: 51820, PublicKey: "key-a"}}
	keysB := &encrypted{offer: tunnelmech.Offer{Port: 51821, PublicKey: "key-b"}}
	restart := func(n *node) { n.stop(); n.start(ours) }
	a.config.Encrypted, b.config.Encrypted = keysA, keysB
	a.labels = tunnelmech.Labels("wireguard", "required")
	b.labels = a.labels
	restart(a)
	restart(b)
	w := newWorkload(t, a)
	for range 2 {
		w.must()
		wantSides(t, a, nil, tunnel(77, "fd00::1", "fd00::2", 100, true))
		wantSides(t, b, tunnel(77, "fd00::1", "fd00::2", 100, true), nil)
	}
	if got := w.conn.GetContext().GetMTU(); got != 1350 {
		t.Errorf("MTU %d", got)
	}
	// Keys rotate with the next refresh, in both directions.
	keysA.offer.PublicKey, keysB.offer.PublicKey = "key-a2", "key-b2"
	w.must()
	if got := keysA.only(t); got != (tunnelmech.Peer{Addr: netip.MustParseAddr(addressB), Port: 51821, PublicKey: "key-b2", Offered: "key-a2"}) {
		t.Errorf("A's peer: %v", got)
	}
	if got := keysB.only(t); got != (tunnelmech.Peer{Addr: netip.MustParseAddr(addressA), Port: 51820, PublicKey: "key-a2", Offered: "key-b2"}) {
		t.Errorf("B's peer: %v", got)
	}
	w.close()
	if len(keysA.peers)+len(keysB.peers)+b.vnis.count() != 0 {
		t.Errorf("remains: %v, %v, %v", keysA.peers, keysB.peers, b.vnis.held)
	}

	// Preferred and not there at B: plain. When it is, the next refresh takes it.
	a.labels = tunnelmech.Labels("wireguard", "preferred")
	b.labels, b.config.Encrypted = a.labels, nil
	restart(b)
	w.must()
	wantSides(t, b, tunnel(5, addressB, addressA, b.sides[0].VNI, true), nil)
	b.config.Encrypted = keysB
	restart(b)
	w.must()
	if b.sides[0].Device != 77 || a.sides[1].Device != 77 || len(keysA.peers) != 1 || len(keysB.peers) != 1 {
		t.Errorf("A %v, B %v, keys %v %v", a.sides[1], b.sides[0], keysA.peers, keysB.peers)
	}
	w.close()

	// A node that cannot join offers no VNI and leaves nothing.
	keysB.err = errors.New("no buffer space")
	a.labels = tunnelmech.Labels("wireguard", "required")
	if err := w.ask(); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "encrypt for "+addressA+": no buffer space") {
		t.Errorf("%v", err)
	}
	if len(keysA.peers)+len(keysB.peers)+b.vnis.count() != 0 {
		t.Errorf("remains: %v, %v, %v", keysA.peers, keysB.peers, b.vnis.held)
	}
}

// upstream are the elements of upstream's forwarders.
func upstream(n *node) (networkservice.NetworkServiceServer, networkservice.NetworkServiceClient) {
	local := net.ParseIP(n.config.Underlay.Local().String())
	server := mechanisms.NewServer(map[string]networkservice.NetworkServiceServer{
		vxlan.MECHANISM:  vni.NewServer(local),
		kernel.MECHANISM: null.NewServer(),
	})
	client := chain.NewNetworkServiceClient(mechanismtranslation.NewClient(), preference{}, vni.NewClient(local))
	return server, client
}

func TestUpstreamServer(t *testing.T) {
	for _, address := range []string{addressB, "192.0.2.0"} { // greater and less than A's
		b := newNode(t, "forwarder-b", address, nil)
		b.start(upstream)
		a := newNode(t, "forwarder-a", addressA, b.url)
		a.start(ours)
		w := newWorkload(t, a)
		w.must()
		first := a.sides[1].VNI
		wantSides(t, a, nil, tunnel(5, addressA, address, first, false))
		if even := vxlanOf(b.asked.GetConnection().GetMechanism()).EvenVNI(); even != (first%2 == 0) {
			t.Errorf("VNI %d from %s", first, address)
		}
		w.must()
		wantSides(t, a, nil, tunnel(5, addressA, address, first, false))
		a.stop()
		a.start(ours)
		w.must()
		wantSides(t, a, nil, tunnel(5, addressA, address, first, false))
		w.close()
	}
}

func TestUpstreamClient(t *testing.T) {
	b := newNode(t, "forwarder-b", addressB, nil)
	b.start(ours)
	a := newNode(t, "forwarder-a", addressA, b.url)
	a.start(upstream)
	w := newWorkload(t, a)
	for range 2 {
		w.must()
		wantSides(t, b, tunnel(5, addressB, addressA, 100, false), nil)
	}
	if got := w.conn.GetMechanism().GetType(); got != kernel.MECHANISM {
		t.Errorf("mechanism %s", got)
	}
	w.close()
	if b.vnis.count() != 0 {
		t.Errorf("VNIs remain: %v", b.vnis.held)
	}
}

func vxlanOf(m *networkservice.Mechanism) *vxlan.Mechanism { return vxlan.ToMechanism(m) }

var remote = &networkservice.Mechanism{Cls: cls.REMOTE, Type: vxlan.MECHANISM}
