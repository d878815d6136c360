// SPDX-License-Identifier: Apache-2.0

package external

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/nl"
)

const (
	macvlanAlias = "weft:macvlan:" // + base interface
	// Followed by the addresses that it had, separated by commas. It does not begin
	// as the aliases of what is ours: that may be removed.
	movedAlias = "weft-moved:"
	maxAlias   = 255
)

// attached is an interface that somebody else puts into the namespace.
type attached struct{ Spec }

func (a attached) ensure(context.Context) (index int, _ time.Time, err error) {
	err = nl.Do(a.NetNS, func(h *nl.Handle) error {
		link, err := h.LinkByName(a.Name)
		if errors.Is(err, nl.ErrNotFound) {
			return errors.New("the network attachment is not in the frontend's namespace: Multus has not added it, or has taken it away")
		}
		index = link.Index
		return err
	})
	return index, time.Time{}, err
}

func (attached) undo(context.Context) error { return nil }

// hostDevice is an interface of the node.
type hostDevice struct{ Spec }

func (d *hostDevice) ensure(context.Context) (index int, _ time.Time, err error) {
	err = nl.Do(d.NetNS, func(h *nl.Handle) error {
		link, err := h.LinkByName(d.Name)
		index = link.Index
		return err
	})
	if !errors.Is(err, nl.ErrNotFound) {
		return index, time.Time{}, err
	}
	apart, err := d.apart()
	if err != nil {
		return 0, time.Time{}, err
	}
	if !apart {
		return 0, time.Time{}, errors.New("is not there")
	}
	if err := nl.Do(d.HostNetNS, d.move); err != nil {
		return 0, time.Time{}, err
	}
	err = nl.Do(d.NetNS, func(h *nl.Handle) error {
		link, err := h.LinkByName(d.Name)
		index = link.Index
		return err
	})
	return index, time.Time{}, err
}

// apart tells whether the frontend has a namespace of its own.
func (s Spec) apart() (bool, error) {
	inode := func(path string) (uint64, error) {
		if path == "" {
			path = "/proc/self/ns/net"
		}
		return netns.Inode(path)
	}
	here, err := inode(s.NetNS)
	there, other := inode(s.HostNetNS)
	return here != there, errors.Join(err, other)
}

// move moves the interface into the frontend's namespace. What it had is noted in
// its alias first, so that it can be given back by whoever comes after a crash.
func (d *hostDevice) move(h *nl.Handle) error {
	link, err := h.LinkByName(d.Name)
	if errors.Is(err, nl.ErrNotFound) {
		return errors.New("is neither in the frontend's namespace nor in the node's")
	}
	if err != nil {
		return err
	}
	if link.Alias != "" && !strings.HasPrefix(link.Alias, movedAlias) {
		return fmt.Errorf("is somebody's: its alias is %q", link.Alias)
	}
	had, err := globals(h, link.Index)
	if err != nil {
		return err
	}
	if link.Alias == "" {
		text := movedAlias
		for _, a := range had {
			if len(text)+len(a.String())+1 < maxAlias {
				text += a.String() + ","
			}
		}
		if err := h.SetAlias(link.Index, text); err != nil {
			return err
		}
	}
	return h.MoveLink(link.Index, d.NetNS)
}

// undo gives a moved interface back.
func (d *hostDevice) undo(context.Context) error {
	var alias string
	err := nl.Do(d.NetNS, func(h *nl.Handle) error {
		link, err := h.LinkByName(d.Name)
		if errors.Is(err, nl.ErrNotFound) || err == nil && !strings.HasPrefix(link.Alias, movedAlias) {
			return nil // gone, or it was here before us
		}
		if err != nil {
			return err
		}
		host := d.HostNetNS
		if host == "" {
			host = "/proc/self/ns/net"
		}
		alias = link.Alias
		return h.MoveLink(link.Index, host)
	})
	if err != nil || alias == "" {
		return err
	}
	return nl.Do(d.HostNetNS, func(h *nl.Handle) error { return d.restore(h, alias) })
}

// restore gives an interface that is back what it had.
func (d *hostDevice) restore(h *nl.Handle, alias string) error {
	link, err := h.LinkByName(d.Name)
	if err != nil {
		return err
	}
	errs := []error{h.SetUp(link.Index)}
	for text := range strings.SplitSeq(strings.TrimPrefix(alias, movedAlias), ",") {
		if a, err := netip.ParsePrefix(text); err == nil {
			if err := h.AddAddress(link.Index, a); !errors.Is(err, nl.ErrExists) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(append(errs, h.SetAlias(link.Index, ""))...)
}

// macvlan is made on an interface of the node.
type macvlan struct{ Spec }

func (m *macvlan) ensure(context.Context) (index int, _ time.Time, err error) {
	err = nl.Do(m.NetNS, func(h *nl.Handle) error {
		link, err := h.LinkByName(m.Name)
		if err == nil && link.Alias != macvlanAlias+m.Base {
			return fmt.Errorf("the name is taken by an interface that is not ours (%s, alias %q)", link.Kind, link.Alias)
		}
		if errors.Is(err, nl.ErrNotFound) {
			link, err = m.make(h)
		}
		index = link.Index
		return err
	})
	return index, time.Time{}, err
}

// make makes it under another name, because only an interface that exists can have
// an alias: what bears that name without one is of a process that died here.
func (m *macvlan) make(h *nl.Handle) (nl.Link, error) {
	sum := sha256.Sum256([]byte(m.Name))
	name := "wm-" + hex.EncodeToString(sum[:6])
	if old, err := h.LinkByName(name); err == nil && old.Kind == "macvlan" {
		if err := h.DeleteLink(old.Index); err != nil {
			return nl.Link{}, err
		}
	}
	inside := m.NetNS
	if inside == "" {
		inside = "/proc/self/ns/net"
	}
	err := nl.Do(m.HostNetNS, func(host *nl.Handle) error {
		base, err := host.LinkByName(m.Base)
		if errors.Is(err, nl.ErrNotFound) {
			return fmt.Errorf("base interface %s is not there", m.Base)
		}
		if err != nil {
			return err
		}
		return host.AddMacvlan(name, base.Index, inside)
	})
	if err != nil {
		return nl.Link{}, err
	}
	link, err := h.LinkByName(name)
	if err == nil {
		err = errors.Join(h.SetAlias(link.Index, macvlanAlias+m.Base), h.Rename(link.Index, m.Name))
	}
	return link, err
}

func (m *macvlan) undo(context.Context) error {
	return nl.Do(m.NetNS, func(h *nl.Handle) error {
		link, err := h.LinkByName(m.Name)
		if errors.Is(err, nl.ErrNotFound) || err == nil && link.Alias != macvlanAlias+m.Base {
			return nil
		}
		if err != nil {
			return err
		}
		return h.DeleteLink(link.Index)
	})
}
