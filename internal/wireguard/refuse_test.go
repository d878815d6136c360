// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
)

// checkUntouched fails when a refused Open has left anything.
func checkUntouched(t *testing.T, n *node) {
	t.Helper()
	if _, err := os.Stat(netns.Path(privateName(n.cfg.Dir))); !os.IsNotExist(err) {
		t.Errorf("a private namespace remains: %v", err)
	}
	if _, err := testutil.Handle(t, n.ns).LinkByName(DeviceName); !errors.Is(err, nl.ErrNotFound) {
		t.Errorf("a VXLAN device remains: %v", err)
	}
}

func wantError(t *testing.T, what string, err error, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v, want %q in it", what, err, text)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	a, _ := newPair(t, Userspace, nodeA, nodeB)
	refuse := func(name string, change func(*Config), texts ...string) {
		t.Helper()
		good := a.cfg
		change(&a.cfg)
		_, err := Open(a.cfg)
		wantError(t, name, err, texts...)
		a.cfg = good
		checkUntouched(t, a)
	}
	refuse("everything", func(c *Config) { *c = Config{NetNS: "/nowhere", Mode: "fast", Port: 65535} },
		"Mode:", "Port:", "Local:", "Dir:", "NetNS:")
	refuse("long directory", func(c *Config) { c.Dir = "/" + strings.Repeat("x", 100) }, "Dir:", "too long")
	refuse("other address", func(c *Config) { c.Local = netip.MustParseAddr("10.0.0.9") }, "Local: 10.0.0.9")
	var taken interface{ Close() error }
	must(t, netns.Do(a.ns, func() error { taken = testutil.ListenPacket(t, "", "udp", ":51820"); return nil }))
	refuse("taken port", func(*Config) {}, "UDP port 51820", "address already in use")
	must(t, taken.Close())
	h := testutil.Handle(t, a.ns)
	other, _, err := h.AddVeth(nl.Veth{Name: DeviceName, PeerName: "peer"})
	must(t, err)
	_, err = Open(a.cfg)
	wantError(t, "taken name", err, DeviceName)
	must(t, h.DeleteLink(other.Index))
	checkUntouched(t, a)

	a.open()
	offer := a.m.Offer()
	_, err = Open(a.cfg)
	wantError(t, "second Manager", err, "Dir:", "used by another")
	wantError(t, "removal in use", Remove(a.cfg.Dir), "used by another")
	if a.m.Offer() != offer || a.generationCount() != 1 {
		t.Error("a refused Open has changed the Manager")
	}
}

func TestJoinRefuses(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	a, b := newPair(t, Userspace, nodeA, nodeB)
	a.open()
	good := Peer{Addr: b.addr, Port: 1, PublicKey: newKey(t).String()}
	for name, c := range map[string]struct {
		id     string
		change func(*Peer)
		want   string
	}{
		"no id":         {"", func(*Peer) {}, "id:"},
		"no address":    {"x", func(p *Peer) { p.Addr = netip.Addr{} }, "Addr:"},
		"other family":  {"x", func(p *Peer) { p.Addr = netip.MustParseAddr("fd00::2") }, "Addr:"},
		"this address":  {"x", func(p *Peer) { p.Addr = a.addr }, "Addr:"},
		"no route":      {"x", func(p *Peer) { p.Addr = netip.MustParseAddr("192.0.2.77") }, "Addr:"},
		"no port":       {"x", func(p *Peer) { p.Port = 0 }, "Port:"},
		"no key":        {"x", func(p *Peer) { p.PublicKey = "" }, "PublicKey:"},
		"short key":     {"x", func(p *Peer) { p.PublicKey = "AAAA" }, "PublicKey:"},
		"zero key":      {"x", func(p *Peer) { p.PublicKey = wgtypes.Key{}.String() }, "PublicKey:"},
		"own key":       {"x", func(p *Peer) { p.PublicKey = a.m.Offer().PublicKey }, "PublicKey:"},
		"unknown offer": {"x", func(p *Peer) { p.Offered = newKey(t).String() }, "Offered:"},
	} {
		bad := good
		c.change(&bad)
		_, err := a.m.Join(t.Context(), c.id, bad)
		wantError(t, name, err, c.want)
	}
	checkPeers(t, a, 0)
	must(t, a.m.Close(false))
	if _, err := a.m.Join(t.Context(), "x", good); !errors.Is(err, ErrClosed) {
		t.Errorf("Join after Close: %v", err)
	}
	if err := a.m.Rotate(); !errors.Is(err, ErrClosed) {
		t.Errorf("Rotate after Close: %v", err)
	}
}

func newKey(t testing.TB) wgtypes.Key {
	t.Helper()
	key, err := wgtypes.GeneratePrivateKey()
	must(t, err)
	return key.PublicKey()
}

// checkPeers compares with what WireGuard itself has.
func checkPeers(t *testing.T, n *node, want int) *wgtypes.Device {
	t.Helper()
	state, err := n.m.current().control.state()
	must(t, err)
	if len(state.Peers) != want {
		t.Errorf("%d peers, want %d", len(state.Peers), want)
	}
	return state
}

// TestCollision gives all keys with the same first byte one address.
func TestCollision(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	a, b := newPair(t, Userspace, nodeA, nodeB)
	m, err := open(a.cfg, fastTiming, func(key wgtypes.Key) netip.Addr {
		return innerAddress(wgtypes.Key{key[0]})
	})
	must(t, err)
	a.m = m
	t.Cleanup(func() { must(t, m.Close(false)) })
	same := func(key wgtypes.Key) Peer {
		key[5]++
		return Peer{Addr: b.addr, Port: 1, PublicKey: key.String()}
	}
	own, err := wgtypes.ParseKey(m.Offer().PublicKey)
	must(t, err)
	_, err = m.Join(t.Context(), "own", same(own))
	if !errors.Is(err, ErrCollision) {
		t.Errorf("collision with this node: %v", err)
	}
	first := newKey(t)
	first[0] = own[0] + 1
	_, err = m.Join(t.Context(), "first", Peer{Addr: b.addr, Port: 1, PublicKey: first.String()})
	must(t, err)
	_, err = m.Join(t.Context(), "second", same(first))
	if !errors.Is(err, ErrCollision) {
		t.Errorf("collision of peers: %v", err)
	}
	checkPeers(t, a, 1)
}

// TestReferences: a peer stays while any connection needs it, follows to another
// address, and an adopted one goes when nobody claims it.
func TestReferences(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	a, b := newPair(t, Userspace, nodeA, nodeB)
	a.open()
	p := Peer{Addr: b.addr, Port: 1000, PublicKey: newKey(t).String()}
	other := Peer{Addr: b.addr, Port: 1000, PublicKey: newKey(t).String()}
	join := func(id string, p Peer) {
		t.Helper()
		_, err := a.m.Join(t.Context(), id, p)
		must(t, err)
	}
	join("1", p)
	join("1", p)
	join("2", p)
	join("3", other)
	checkPeers(t, a, 2)
	p.Addr, p.Port = netip.MustParseAddr("10.0.0.3"), 2000
	join("2", p)
	for _, found := range checkPeers(t, a, 2).Peers {
		if want := "10.0.0.3:2000"; found.PublicKey.String() == p.PublicKey && found.Endpoint.String() != want {
			t.Errorf("endpoint %s, want %s", found.Endpoint, want)
		}
	}
	must(t, a.m.Leave("1"))
	checkPeers(t, a, 2)
	must(t, a.m.Close(true))
	a.cfg.Grace = 1 // nanosecond
	a.open()
	testutil.Eventually(t, awhile, "removal of what nobody claims", func() bool {
		state, err := a.m.current().control.state()
		return err == nil && len(state.Peers) == 0
	})
	must(t, a.m.Close(true))
	a.cfg.Grace = DefaultGrace
	a.open()
	join("2", p)
	must(t, a.m.Leave("2"))
}
