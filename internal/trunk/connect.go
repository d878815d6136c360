// SPDX-License-Identifier: Apache-2.0

package trunk

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/pkg/dataplane/vlan"
)

// alias begins the aliases of both ends; the namespace's cookie and the
// interface's name follow.
const alias = "weft:vlan:"

// outerPrefix begins the names of outer ends.
const outerPrefix = "wv-"

func outerName(k key) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d/%s", k.cookie, k.name))
	return outerPrefix + hex.EncodeToString(sum[:6])
}

func (p Port) validate() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf(format+": %w", append(args, ErrInvalid)...))
	}
	if p.ID == "" {
		bad("id is empty")
	}
	if p.NetNS == "" {
		bad("namespace path is empty")
	}
	if p.Interface == "" || len(p.Interface) >= unix.IFNAMSIZ {
		bad("interface name %q is not 1 to 15 bytes", p.Interface)
	}
	if p.Base == "" || len(p.Base) >= unix.IFNAMSIZ {
		bad("base interface name %q is not 1 to 15 bytes", p.Base)
	}
	if p.VLAN < 0 || p.VLAN > vlan.MaxID {
		bad("VLAN id %d is not between 0 and %d", p.VLAN, vlan.MaxID)
	}
	if p.MAC != nil && (len(p.MAC) != 6 || p.MAC[0]&1 != 0) {
		bad("MAC %s is no unicast Ethernet address", p.MAC)
	}
	if p.MTU != 0 && p.MTU < 68 {
		bad("MTU %d is less than 68", p.MTU)
	}
	for _, a := range p.Addresses {
		if !a.IsValid() || a.Addr().IsUnspecified() || a.Addr().IsMulticast() || a.Addr().Is4In6() {
			bad("address %s", a)
		}
	}
	return errors.Join(errs...)
}

// Connect makes a frontend's interface, or brings an existing one to what is
// wanted now. When a new one fails, nothing of it remains.
func (t *Trunk) Connect(ctx context.Context, want Port) error {
	if err := want.validate(); err != nil {
		return fmt.Errorf("connect %s: %w", want.ID, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := t.connect(want); err != nil {
		return fmt.Errorf("connect %s to VLAN %d of %s: %w", want.Interface, want.VLAN, want.Base, err)
	}
	return nil
}

func (t *Trunk) connect(want Port) error {
	base, err := t.base(want)
	if err != nil {
		return err
	}
	inside, err := nl.Open(want.NetNS)
	if errors.Is(err, netns.ErrNotFound) {
		return fmt.Errorf("%s: %w: %w", want.NetNS, ErrNoNamespace, err)
	}
	if err != nil {
		return err
	}
	defer func() { _ = inside.Close() }()
	cookie, err := inside.Cookie()
	if err != nil {
		return err
	}
	k := key{cookie, want.Interface}
	if old := t.byID(want.ID); old != nil && old.key != k { // another namespace, or name
		if err := t.remove(old); err != nil {
			return err
		}
	}
	if base.MTU < want.MTU || want.MTU == 0 {
		want.MTU = base.MTU
	}
	e, fresh, err := t.veth(inside, k, want)
	if err != nil {
		return err
	}
	if err := t.bring(inside, e, want, base); err != nil {
		if fresh {
			err = errors.Join(err, t.remove(e))
		}
		return err
	}
	e.id, e.adopted = want.ID, false
	return nil
}

// base finds the base interface, and refuses a VLAN that is a VLAN device's: both
// would get half of the frames.
func (t *Trunk) base(want Port) (nl.Link, error) {
	base, err := t.host.LinkByName(want.Base)
	if errors.Is(err, nl.ErrNotFound) {
		return base, fmt.Errorf("%s: %w", want.Base, ErrNoBase)
	}
	if err != nil || want.VLAN == 0 {
		return base, err
	}
	links, err := t.host.Links()
	if err != nil {
		return base, err
	}
	for _, l := range links {
		if l.Kind == "vlan" && l.PeerIndex == base.Index && l.VLANID == want.VLAN {
			return base, fmt.Errorf("%s: %w: remove it, or choose another VLAN id", l.Name, ErrVLANTaken)
		}
	}
	return base, nil
}

// veth finds the interface, or makes it.
func (t *Trunk) veth(inside *nl.Handle, k key, want Port) (e *entry, fresh bool, err error) {
	e = t.entries[k]
	mac := want.MAC
	if e != nil {
		link, err := inside.LinkByIndex(e.inner)
		if err == nil && link.Name == want.Interface && link.PeerIndex == e.outer {
			return e, false, t.recover(inside, e)
		}
		if err != nil && !errors.Is(err, nl.ErrNotFound) {
			return nil, false, err
		}
		if mac == nil {
			mac = e.mac // the same as before
		}
		if err := t.remove(e); err != nil { // removed or renamed from within
			return nil, false, err
		}
	}
	if mac == nil {
		mac = t.gone[k].mac
	}
	delete(t.gone, k)
	if err := t.step("add veth"); err != nil {
		return nil, false, err
	}
	if err := t.removeStray(k); err != nil {
		return nil, false, err
	}
	id := fmt.Sprintf("%s%d/%s", alias, k.cookie, k.name)
	outer, inner, err := t.host.AddVeth(nl.Veth{
		Name: outerName(k), Alias: id, NoLinkLocal: true, MTU: want.MTU,
		PeerName: want.Interface, PeerAlias: id, PeerMAC: mac, PeerNetNS: want.NetNS, PeerHandle: inside,
	})
	if errors.Is(err, nl.ErrExists) {
		return nil, false, fmt.Errorf("%s: %w: %w", want.Interface, ErrNameTaken, err)
	}
	if err != nil {
		return nil, false, err
	}
	e = &entry{key: k, id: want.ID, outer: outer.Index, inner: inner.Index, mac: inner.MAC}
	t.entries[k] = e
	return e, true, nil
}

// removeStray removes an interface that an earlier process has made, and did not
// get to make known to the data path.
func (t *Trunk) removeStray(k key) error {
	link, err := t.host.LinkByName(outerName(k))
	if errors.Is(err, nl.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if whose, ok := parse(link); !ok || whose != k {
		return nil
	}
	return t.host.DeleteLink(link.Index)
}

// bring makes the interface what is wanted. Nothing enters or leaves before the
// data path knows it, and the inner end comes up last.
func (t *Trunk) bring(inside *nl.Handle, e *entry, want Port, base nl.Link) error {
	inner, err := inside.LinkByIndex(e.inner)
	if err != nil {
		return err
	}
	if want.MAC != nil && string(want.MAC) != string(inner.MAC) {
		if err := inside.SetMAC(e.inner, want.MAC); err != nil {
			return err
		}
		inner.MAC = want.MAC
	}
	e.mac = inner.MAC
	if inner.MTU != want.MTU {
		if err := errors.Join(t.host.SetMTU(e.outer, want.MTU), inside.SetMTU(e.inner, want.MTU)); err != nil {
			return err
		}
	}
	if err := t.join(e, want.Base, want.VLAN, base, want.Addresses); err != nil {
		return err
	}
	if err := t.step("add addresses"); err != nil {
		return err
	}
	if err := e.configure(inside, want.Addresses); err != nil {
		return err
	}
	if inner.Up {
		return nil
	}
	if err := t.step("inner end up"); err != nil {
		return err
	}
	return inside.SetUp(e.inner)
}

// join connects the outer end with the VLAN.
func (t *Trunk) join(e *entry, name string, id int, base nl.Link, addresses []netip.Prefix) error {
	if err := t.step("write port"); err != nil {
		return err
	}
	if err := t.plane.Set(vlan.Port{IfIndex: e.outer, Base: base.Index, VLAN: id, MAC: e.mac}); err != nil {
		return err
	}
	if err := t.step("add filters"); err != nil {
		return err
	}
	if err := t.filter(e, base.Index, wanted(e.mac, addresses)); err != nil {
		return err
	}
	old := e.base
	e.base, e.baseIndex, e.vlan = name, base.Index, id
	t.bases[name] = base
	if old != name {
		t.dropBase(old)
	}
	if err := t.step("outer end up"); err != nil {
		return err
	}
	return t.carry(e, base)
}

// carry gives the outer end the carrier of the base interface.
func (t *Trunk) carry(e *entry, base nl.Link) error {
	if base.Carrier {
		return t.host.SetUp(e.outer)
	}
	return t.host.SetDown(e.outer)
}

// wanted are the addresses that the base interface has to receive for a port: its
// MAC, and the solicited-node groups of its IPv6 addresses (RFC 4291, 2.7.1).
func wanted(mac net.HardwareAddr, addresses []netip.Prefix) []net.HardwareAddr {
	macs := []net.HardwareAddr{mac, solicited(mac[3], mac[4], mac[5])} // link-local by EUI-64
	for _, a := range addresses {
		if a.Addr().Is6() {
			b := a.Addr().As16()
			macs = append(macs, solicited(b[13], b[14], b[15]))
		}
	}
	return macs
}

func solicited(a, b, c byte) net.HardwareAddr { return net.HardwareAddr{0x33, 0x33, 0xff, a, b, c} }

// filter makes the base interface receive exactly these for the port.
func (t *Trunk) filter(e *entry, base int, macs []net.HardwareAddr) error {
	has := func(set []net.HardwareAddr, mac net.HardwareAddr) bool {
		return slices.ContainsFunc(set, func(m net.HardwareAddr) bool { return string(m) == string(mac) })
	}
	for _, mac := range macs {
		if err := t.host.AddFilter(base, mac); err != nil && !errors.Is(err, nl.ErrExists) {
			return err
		}
	}
	var errs []error
	for _, mac := range e.filters {
		if base == e.baseIndex && has(macs, mac) || t.shares(e, mac) {
			continue
		}
		if err := t.host.DeleteFilter(e.baseIndex, mac); err != nil && !errors.Is(err, nl.ErrNotFound) {
			errs = append(errs, err)
		}
	}
	e.filters = macs
	return errors.Join(errs...)
}

// shares tells whether another port of the same base interface needs the address.
func (t *Trunk) shares(e *entry, mac net.HardwareAddr) bool {
	for _, other := range t.entries {
		if other == e || other.baseIndex != e.baseIndex {
			continue
		}
		if slices.ContainsFunc(other.filters, func(m net.HardwareAddr) bool { return string(m) == string(mac) }) {
			return true
		}
	}
	return false
}

// configure gives the inner end these addresses, and takes away those that were
// ours before.
func (e *entry) configure(inside *nl.Handle, addresses []netip.Prefix) error {
	is, err := inside.Addresses(e.inner)
	if err != nil {
		return err
	}
	for _, a := range addresses {
		if slices.Contains(is, a) {
			continue
		}
		if err := inside.AddAddress(e.inner, a); err != nil && !errors.Is(err, nl.ErrExists) {
			return err
		}
	}
	var errs []error
	for _, a := range e.addresses {
		if slices.Contains(addresses, a) || !slices.Contains(is, a) {
			continue
		}
		if err := inside.DeleteAddress(e.inner, a); err != nil && !errors.Is(err, nl.ErrNotFound) {
			errs = append(errs, err)
		}
	}
	e.addresses = slices.Clone(addresses)
	return errors.Join(errs...)
}
