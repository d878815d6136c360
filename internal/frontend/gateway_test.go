// SPDX-License-Identifier: Apache-2.0

package frontend

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/bfd"
	"github.com/weft-project/weft/internal/bfd/bfdnet"
	"github.com/weft-project/weft/internal/bgp"
)

// What BFD and BGP say makes a gateway usable or not, by RFC 5882.
func TestGatewayJudgement(t *testing.T) {
	var (
		now      = time.Now()
		there    = iface{name: "ext0", index: 3, addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.9/24")}}
		watch    = &BFD{MinTx: time.Second, MinRx: time.Second, Multiplier: 3}
		session  = &BGP{LocalASN: 1, RemoteASN: 2}
		strict   = &BGP{LocalASN: 1, RemoteASN: 2, Strict: true}
		isUp     = bfdnet.Status{State: bfd.Up, RemoteState: bfd.Up}
		isDown   = bfdnet.Status{State: bfd.Down, RemoteState: bfd.Down, Diag: bfd.DetectionTimeExpired}
		isAdmin  = bfdnet.Status{State: bfd.Down, RemoteState: bfd.AdminDown, Diag: bfd.NeighborSignaledDown}
		cBit     = bfdnet.Status{State: bfd.Down, RemoteState: bfd.Down, RemoteControlPlaneIndependent: true}
		bgpUp    = bgp.PeerStatus{State: bgp.Established}
		bgpDown  = bgp.PeerStatus{State: bgp.Active, LastError: "connection refused"}
		bgpStale = bgp.PeerStatus{State: bgp.Active, Stale: now.Add(time.Minute)}
	)
	for name, c := range map[string]struct {
		bgp      *BGP
		bfd      *BFD
		peer     bgp.PeerStatus
		heard    []bfdnet.Status
		rekeyed  bool
		up       bool
		reason   string
		disabled string
	}{
		"static":                  {up: true},
		"static, BFD unknown":     {bfd: watch, reason: "BFD is not up yet"},
		"static, BFD up":          {bfd: watch, heard: []bfdnet.Status{isUp}, up: true},
		"static, BFD down":        {bfd: watch, heard: []bfdnet.Status{isUp, isDown}, reason: "BFD is down: detection time expired"},
		"static, BFD never up":    {bfd: watch, heard: []bfdnet.Status{isDown}, reason: "BFD is not up yet"},
		"static, admin down":      {bfd: watch, heard: []bfdnet.Status{isUp, isAdmin}, up: true, reason: "administratively down"},
		"admin down, then silent": {bfd: watch, heard: []bfdnet.Status{isUp, isAdmin, isDown}, up: true, reason: "administratively down"},
		"new, at once admin down": {bfd: watch, heard: []bfdnet.Status{isAdmin}, reason: "BFD is not up yet"},
		"admin down, up, down":    {bfd: watch, heard: []bfdnet.Status{isUp, isAdmin, isUp, isDown}, reason: "BFD is down"},
		"BGP up":                  {bgp: session, peer: bgpUp, up: true},
		"BGP down":                {bgp: session, peer: bgpDown, reason: "BGP is active: connection refused"},
		"BGP up, BFD unknown":     {bgp: session, bfd: watch, peer: bgpUp, reason: "BFD is not up yet"},
		"strict, BFD unknown":     {bgp: strict, bfd: watch, reason: "BFD is not up yet", disabled: "BFD is not up yet"},
		"strict, BFD up":          {bgp: strict, bfd: watch, peer: bgpUp, heard: []bfdnet.Status{isUp}, up: true},
		"BGP up, BFD down":        {bgp: session, bfd: watch, peer: bgpUp, heard: []bfdnet.Status{isUp, isDown}, reason: "BFD is down", disabled: "BFD is down"},
		"down and up at once":     {bgp: session, bfd: watch, peer: bgpUp, heard: []bfdnet.Status{isUp, isDown, isUp}, reason: "is reset", disabled: "BFD is down"},
		"restarting":              {bgp: session, peer: bgpStale, up: true, reason: "restarts"},
		"restarting with BFD":     {bgp: session, bfd: watch, peer: bgpStale, heard: []bfdnet.Status{isUp, isDown}, up: true, reason: "restarts"},
		"restarting with C bit":   {bgp: session, bfd: watch, peer: bgpStale, heard: []bfdnet.Status{isUp, cBit}, reason: "BFD is down", disabled: "BFD is down"},
		"key changed":             {bgp: session, bfd: watch, peer: bgpUp, rekeyed: true, heard: []bfdnet.Status{isUp, isDown}, up: true, reason: "not watched until it is"},
	} {
		g := newGateway(Gateway{Name: "gw", Address: netip.MustParseAddr("192.0.2.1"), BGP: c.bgp, BFD: c.bfd})
		g.bgp = c.peer
		if c.rekeyed {
			g.rekeyed = now
		}
		for _, status := range c.heard {
			g.hear(status, now)
		}
		up, reason := g.evaluate(there, true)
		if up != c.up || !strings.Contains(reason, c.reason) || c.reason == "" && reason != "" {
			t.Errorf("%s: up %v, %q; want %v, %q", name, up, reason, c.up, c.reason)
		}
		if c.bgp == nil {
			continue
		}
		if got := g.disabled(); !strings.HasPrefix(got, c.disabled) || (got == "") != (c.disabled == "") {
			t.Errorf("%s: disabled %q, want %q", name, got, c.disabled)
		}
	}
	for problem, i := range map[string]iface{
		"interface ext0 is down":             {name: "ext0", index: 3, problem: "interface ext0 is down"},
		"interface ext0 has no IPv4 address": {name: "ext0", index: 3, addresses: []netip.Prefix{netip.MustParsePrefix("2001:db8::1/64")}},
	} {
		g := newGateway(Gateway{Name: "gw", Address: netip.MustParseAddr("192.0.2.1")})
		if up, reason := g.evaluate(i, true); up || reason != problem {
			t.Errorf("up %v, %q; want %q", up, reason, problem)
		}
	}
}

// BFD that is added to a gateway in use, or changed, takes nothing down.
func TestBFDConfigured(t *testing.T) {
	g := newGateway(Gateway{Name: "gw", Address: netip.MustParseAddr("192.0.2.1")})
	g.up = true
	with := g.Gateway
	with.BFD = &BFD{MinTx: time.Second, MinRx: time.Second, Multiplier: 3}
	g.configure(with)
	if g.view != pending {
		t.Errorf("BFD is %d for a gateway in use", g.view)
	}
	g.hear(bfdnet.Status{State: bfd.Up}, time.Now())
	keyed := with
	keyed.BFD = &BFD{MinTx: time.Second, MinRx: time.Second, Multiplier: 3, Auth: AuthSHA1, AuthKey: []byte("k")}
	g.configure(keyed)
	g.hear(bfdnet.Status{State: bfd.Down, RemoteState: bfd.Down}, time.Now())
	if g.view != pending {
		t.Errorf("BFD is %d after a change of its key", g.view)
	}
	g.hear(bfdnet.Status{State: bfd.Up}, time.Now())
	g.hear(bfdnet.Status{State: bfd.Down, RemoteState: bfd.Down}, time.Now().Add(rekeyLimit))
	if g.view != failed {
		t.Errorf("BFD is %d after a failure", g.view)
	}
}
