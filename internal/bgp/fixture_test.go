// SPDX-License-Identifier: Apache-2.0

package bgp_test

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/bgp"
	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
)

// Addresses on the wire: ours end in 1, the gateway's in 2.
var (
	gateway4   = netip.MustParseAddr("192.0.2.2")
	gateway6   = netip.MustParseAddr("2001:db8::2")
	gatewayLL  = netip.MustParseAddr("fe80::2")
	ours4      = netip.MustParseAddr("192.0.2.1")
	ours6      = netip.MustParseAddr("2001:db8::1")
	ourID      = netip.MustParseAddr("10.0.0.1")
	vips       = prefixes("198.51.100.1/32", "198.51.100.2/32", "2001:db8:f::1/128")
	limit      = 15 * time.Second
	wireName   = "ext"
	theirRoute = "203.0.113.0/24"
)

func prefixes(texts ...string) []netip.Prefix {
	list := make([]netip.Prefix, 0, len(texts))
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

// wire joins this namespace with a new one, in which the gateway is to be.
func wire(t *testing.T) string {
	t.Helper()
	testutil.Require(t, "netns")
	if os.Getenv(inside) == "" {
		t.Skip("needs root")
	}
	ns := testutil.NetNS(t)
	own, err := nl.Open("")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = own.Close() }()
	link, _, err := own.AddVeth(nl.Veth{Name: wireName, PeerName: wireName, PeerNetNS: ns})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		h, err := nl.Open("")
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = h.Close() }()
		if err := h.DeleteLink(link.Index); err != nil && !strings.Contains(err.Error(), "no such") {
			t.Log(err)
		}
	})
	address(t, "", "192.0.2.1/24", "2001:db8::1/64", "fe80::1/64")
	address(t, ns, "192.0.2.2/24", "192.0.2.3/24", "192.0.2.4/24", "2001:db8::2/64", "fe80::2/64")
	return ns
}

func address(t *testing.T, ns string, texts ...string) {
	t.Helper()
	h, err := nl.Open(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = h.Close() }()
	link := testutil.Link(t, ns, wireName)
	oneLinkLocal(t, ns)
	if err := h.SetUp(link.Index); err != nil {
		t.Fatal(err)
	}
	for _, prefix := range prefixes(texts...) {
		if err := h.AddAddress(link.Index, prefix); err != nil {
			t.Fatal(err)
		}
	}
}

// oneLinkLocal keeps the kernel from making a link-local address of its own, which
// it would prefer.
func oneLinkLocal(t *testing.T, ns string) {
	t.Helper()
	if err := netns.Do(ns, func() error {
		return os.WriteFile("/proc/sys/net/ipv6/conf/"+wireName+"/addr_gen_mode", []byte("1"), 0)
	}); err != nil {
		t.Fatal(err)
	}
}

// speaker is one under test, and what it was told last.
type speaker struct {
	*bgp.Speaker
	t       *testing.T
	config  bgp.Config
	changes atomic.Int64
}

func start(t *testing.T, restarting bool, config bgp.Config) *speaker {
	t.Helper()
	s := &speaker{t: t}
	var err error
	s.Speaker, err = bgp.New(bgp.Options{
		Log:        slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
		OnChange:   func() { s.changes.Add(1) },
		Restarting: restarting,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	s.set(config)
	return s
}

func (s *speaker) set(config bgp.Config) {
	s.t.Helper()
	if !config.RouterID.IsValid() {
		config.RouterID = ourID
	}
	s.config = config
	if err := s.Set(config); err != nil {
		s.t.Fatal(err)
	}
}

// change sets the last config with a change to its first peer.
func (s *speaker) change(f func(*bgp.Peer)) {
	s.t.Helper()
	config := s.config
	config.Peers = slices.Clone(config.Peers)
	f(&config.Peers[0])
	s.set(config)
}

func (s *speaker) peer(name string) bgp.PeerStatus {
	s.t.Helper()
	for _, status := range s.Status() {
		if status.Name == name {
			return status
		}
	}
	s.t.Fatalf("no status of gateway %s", name)
	return bgp.PeerStatus{}
}

func (s *speaker) established(names ...string) {
	s.t.Helper()
	for _, name := range names {
		s.until("established with "+name, func() bool { return s.peer(name).State == bgp.Established })
	}
}

func (s *speaker) until(what string, ok func() bool) {
	s.t.Helper()
	end := time.Now().Add(limit)
	for !ok() {
		if time.Now().After(end) {
			s.t.Fatalf("%s: not within %v: status %+v, routes %v", what, limit, s.Status(), s.Routes())
		}
		time.Sleep(time.Millisecond)
	}
}

// lastError waits until a gateway's last error has all the words.
func (s *speaker) lastError(name string, words ...string) {
	s.t.Helper()
	s.until(fmt.Sprintf("last error of %s with %q", name, words), func() bool {
		text := s.peer(name).LastError
		return !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(text, word) })
	})
}

func (s *speaker) hasRoute(prefix string, hop netip.Addr) bool {
	return slices.ContainsFunc(s.Routes(), func(r bgp.Route) bool {
		return r.Prefix == netip.MustParsePrefix(prefix) && (!hop.IsValid() || r.NextHop == hop)
	})
}

func gateway(name string, address netip.Addr) bgp.Peer {
	peer := bgp.Peer{Name: name, Address: address, LocalASN: 64512, RemoteASN: 65001, HoldTime: 9 * time.Second}
	if address.IsLinkLocalUnicast() {
		peer.Interface = wireName
	}
	return peer
}
