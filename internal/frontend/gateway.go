// SPDX-License-Identifier: Apache-2.0

package frontend

import (
	"bytes"
	"net/netip"
	"time"

	"github.com/weft-project/weft/internal/bfd"
	"github.com/weft-project/weft/internal/bfd/bfdnet"
	"github.com/weft-project/weft/internal/bgp"
)

// view is what BFD says about a gateway, by RFC 5882.
type view uint8

const (
	// unknown: it has not been up yet. The gateway is not used.
	unknown view = iota
	// pending: it has not been up since it was configured for a gateway that was
	// in use already, or since its authentication was changed. That is no failure:
	// a change of the configuration takes nothing down.
	pending
	up
	failed
	// adminDown: the gateway has shut the session down, which says nothing about
	// the path (RFC 5882, 3.2 and 4.2).
	adminDown
)

// rekeyLimit is how long after a change of the authentication a session may go
// down because the other side has not changed it yet.
const rekeyLimit = 10 * time.Second

// gateway is the state of one. Frontend.mu guards it.
type gateway struct {
	Gateway
	view    view
	bfd     bfdnet.Status
	rekeyed time.Time
	bgp     bgp.PeerStatus
	// reset: BFD has failed, and the BGP session has not been taken down for it yet.
	// Meanwhile what it says does not count.
	reset bool
	// learned are its routes: those of the session, or the default of a static one.
	learned map[netip.Prefix][]netip.Addr
	// unsettled until a time: a process before this one may have installed routes
	// by it, which stay until it has come up.
	unsettled time.Time
	up        bool
	reason    string
}

func newGateway(config Gateway) *gateway {
	g := &gateway{Gateway: config, learned: map[netip.Prefix][]netip.Addr{}}
	g.configure(config)
	return g
}

// configure replaces the configuration of a gateway with the same address.
func (g *gateway) configure(config Gateway) {
	old := g.Gateway
	g.Gateway = config
	switch {
	case config.BFD == nil:
		g.view, g.bfd, g.reset = unknown, bfdnet.Status{}, false
	case old.BFD == nil || old.BFD.Multihop != config.BFD.Multihop:
		g.view = unknown
		if g.up {
			g.view = pending
		}
	case old.BFD.Auth != config.BFD.Auth || old.BFD.AuthKeyID != config.BFD.AuthKeyID || !bytes.Equal(old.BFD.AuthKey, config.BFD.AuthKey):
		g.rekeyed = time.Now()
	}
	if config.BGP == nil {
		all := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if config.Address.Is6() {
			all = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		g.bgp = bgp.PeerStatus{}
		g.learned = map[netip.Prefix][]netip.Addr{all: {config.Address}}
	} else if old.BGP == nil {
		g.learned = map[netip.Prefix][]netip.Addr{}
	}
}

// hear takes a state of its BFD session.
func (g *gateway) hear(status bfdnet.Status, now time.Time) {
	g.bfd = status
	switch {
	case g.BFD == nil:
	case status.State == bfd.Up:
		g.view = up
	case status.RemoteState == bfd.AdminDown && g.view != unknown:
		g.view = adminDown
	case g.view != up:
	case now.Sub(g.rekeyed) < rekeyLimit:
		g.view = pending
	case g.restarting():
		// RFC 5882, 4.3.2.2: BFD dies with a gateway's control plane, of which
		// graceful restart takes care already.
		g.view = pending
	default:
		g.view = failed
		g.reset = g.BGP != nil
	}
}

// restarting says that the session has been lost, the gateway's routes are kept
// for it to come back, and its BFD says nothing about its forwarding meanwhile.
func (g *gateway) restarting() bool {
	return g.BGP != nil && !g.bgp.Stale.IsZero() && g.bgp.State != bgp.Established && !g.bfd.RemoteControlPlaneIndependent
}

// evaluate says whether the gateway is to be used. The reason is also a remark
// about one that is.
func (g *gateway) evaluate(i iface, reachable bool) (ok bool, reason string) {
	if lack := i.lacks(g.Address); lack != "" {
		return false, lack
	}
	if !reachable {
		return false, g.Address.String() + " is not reachable by interface " + i.name
	}
	if g.BFD != nil {
		switch g.view {
		case unknown:
			return false, "BFD is not up yet" + because(g.bfd.LastError)
		case failed:
			return false, "BFD is down: " + g.bfd.Diag.String()
		case pending:
			reason = "BFD is not up yet: not watched until it is" + because(g.bfd.LastError)
		case adminDown:
			reason = "BFD is administratively down at the gateway: not watched"
		}
	}
	switch {
	case g.BGP == nil:
	case g.reset:
		return false, "the BGP session is reset because BFD went down"
	case g.bgp.State == bgp.Established:
	case !g.bgp.Stale.IsZero():
		reason = "the gateway restarts: its routes are kept until " + g.bgp.Stale.UTC().Format(time.RFC3339)
	case g.bgp.State == "":
		return false, "BGP has not begun"
	default:
		return false, "BGP is " + string(g.bgp.State) + because(g.bgp.LastError)
	}
	return true, reason
}

func because(err string) string {
	if err == "" {
		return ""
	}
	return ": " + err
}

// disabled is why there is to be no BGP session.
func (g *gateway) disabled() string {
	switch {
	case g.reset:
		return "BFD is down"
	case g.BFD == nil:
	case g.view == failed:
		return "BFD is down: " + g.bfd.Diag.String()
	case g.view == unknown && g.BGP.Strict:
		return "BFD is not up yet"
	}
	return ""
}

// settled says that what an earlier process knew of the gateway is known again.
func (g *gateway) settled(now time.Time) bool {
	return now.After(g.unsettled) || g.view == failed ||
		g.up && (g.BGP == nil || g.bgp.State == bgp.Established && now.Sub(g.bgp.Since) > settleAfter)
}

// settleAfter is how long a session may take to tell its routes.
const settleAfter = 2 * time.Second
