// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/selfexec"
)

// maxGeneration bounds the numbers of generations, which then begin again.
const maxGeneration = 999_999

// baseTable is the routing table of generation 0 in the private namespace: each
// has its own, because two may reach the same peer.
const baseTable = 1000

// generation is a WireGuard interface in the private namespace. Manager.mu
// guards it.
type generation struct {
	number   int
	born     time.Time
	kernel   bool
	key      wgtypes.Key
	public   wgtypes.Key
	inner    netip.Addr
	port     uint16
	mtu      int
	index    int
	control  control
	process  *selfexec.Process // nil in the kernel
	peers    map[wgtypes.Key]*peer
	replaced time.Time // when it stopped to be the current one
	place    *place
}

// place is where the generations of a Manager are.
type place struct {
	directory, node, private string
	hash                     func(wgtypes.Key) netip.Addr // innerAddress
}

func interfaceName(number int) string { return fmt.Sprintf("%s%d", namePrefix, number) }

func (g *generation) name() string   { return interfaceName(g.number) }
func (g *generation) socket() string { return filepath.Join(g.place.directory, socketName(g.number)) }
func (g *generation) table() int     { return baseTable + g.number }

// aliasPrefix begins the alias of an interface, which tells when it was made.
const aliasPrefix = "weft:wireguard:"

func (g *generation) alias() string { return aliasPrefix + g.born.UTC().Format(time.RFC3339) }

// make makes the interface and gives it key, port and address. Nothing remains
// after an error.
func (g *generation) make() (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, g.destroy())
		}
	}()
	if err := g.makeDevice(); err != nil {
		return err
	}
	if err := g.install(); err != nil {
		return err
	}
	for _, p := range g.peers {
		if err := g.addPeer(p); err != nil {
			return err
		}
	}
	return nil
}

func (g *generation) makeDevice() (err error) {
	if !g.kernel {
		g.process, err = start(serveConfig{Name: g.name(), MTU: g.mtu, Port: g.port, Socket: g.socket()}, g.place.node, g.place.private)
		g.control = uapi{g.socket()}
		return err
	}
	err = withHandle(g.place.node, func(h *nl.Handle) error {
		return h.AddWireGuard(nl.WireGuard{Name: g.name(), MTU: g.mtu, NetNS: g.place.private})
	})
	if errors.Is(err, errors.ErrUnsupported) {
		return fmt.Errorf("%w: %w", ErrNoWireGuard, err)
	}
	if err != nil {
		return err
	}
	control, err := openKernel(g.place.private, g.name())
	if err != nil {
		return err
	}
	g.control = control
	return nil
}

// install configures the interface in the private namespace.
func (g *generation) install() error {
	port := int(g.port)
	return withHandle(g.place.private, func(h *nl.Handle) error {
		link, err := h.LinkByName(g.name())
		if err != nil {
			return err
		}
		g.index = link.Index
		if err := h.SetAlias(link.Index, g.alias()); err != nil {
			return err
		}
		if err := h.SetMTU(link.Index, g.mtu); err != nil {
			return err
		}
		// The kernel listens when the interface comes up. Before, a taken port
		// would not be noticed.
		if err := h.SetUp(link.Index); err != nil {
			return err
		}
		cfg := wgtypes.Config{PrivateKey: &g.key}
		if g.kernel { // a process has opened it
			cfg.ListenPort = &port
		}
		if err := g.control.configure(cfg); err != nil {
			return fmt.Errorf("listen on UDP port %d: %w", g.port, err)
		}
		if err := h.AddAddress(link.Index, host(g.inner)); err != nil {
			return err
		}
		return ignore(h.AddRule(g.rule()), nl.ErrExists)
	})
}

func (g *generation) rule() nl.Rule {
	return nl.Rule{From: host(g.inner), Table: g.table(), Priority: 100}
}

func host(addr netip.Addr) netip.Prefix { return netip.PrefixFrom(addr, addr.BitLen()) }

// destroy removes everything of the generation.
func (g *generation) destroy() error {
	var problems []error
	if g.process != nil {
		problems = append(problems, g.process.End(), ignore(os.Remove(g.socket()), fs.ErrNotExist))
		g.process = nil
	}
	if g.control != nil {
		problems = append(problems, g.control.close())
		g.control = nil
	}
	problems = append(problems, withHandle(g.place.private, func(h *nl.Handle) error {
		err := ignore(h.DeleteRule(g.rule()), nl.ErrNotFound)
		link, linkErr := h.LinkByName(g.name())
		if linkErr == nil {
			linkErr = h.DeleteLink(link.Index)
		}
		return errors.Join(err, ignore(linkErr, nl.ErrNotFound))
	}))
	return errors.Join(problems...)
}

// detach leaves the generation as it is, to be adopted.
func (g *generation) detach() error {
	if g.process != nil {
		g.process.Detach()
	}
	return g.control.close()
}

// adopt reads back what an earlier Manager has made.
func (g *generation) adopt(link nl.Link) (err error) {
	g.index, g.mtu = link.Index, link.MTU
	g.kernel = link.Kind == "wireguard"
	if g.born, err = time.Parse(time.RFC3339, strings.TrimPrefix(link.Alias, aliasPrefix)); err != nil {
		return fmt.Errorf("alias of %s: %w", link.Name, err)
	}
	if g.kernel {
		k, err := openKernel(g.place.private, g.name())
		if err != nil {
			return err
		}
		g.control = k
	} else {
		if g.process, err = selfexec.Attach(g.socket()); err != nil {
			return err
		}
		g.control = uapi{g.socket()}
	}
	state, err := g.control.state()
	if err != nil {
		return err
	}
	if state.PrivateKey == (wgtypes.Key{}) {
		return fmt.Errorf("%s has no key", link.Name)
	}
	g.key, g.public = state.PrivateKey, state.PrivateKey.PublicKey()
	g.port, g.inner = uint16(state.ListenPort), g.place.hash(g.public)
	for _, found := range state.Peers {
		p := &peer{key: found.PublicKey, inner: g.place.hash(found.PublicKey), kept: true, ids: map[string]bool{}}
		if found.Endpoint != nil {
			p.endpoint = unmap(found.Endpoint.AddrPort())
		}
		g.peers[p.key] = p
		// A crash may have come between the peer and its route.
		if err := g.addPeer(p); err != nil {
			return err
		}
	}
	return nil
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

func ignore(err, what error) error {
	if errors.Is(err, what) {
		return nil
	}
	return err
}

func toIPNet(addr netip.Addr) net.IPNet {
	return net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(addr.BitLen(), addr.BitLen())}
}
