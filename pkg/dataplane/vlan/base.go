// SPDX-License-Identifier: Apache-2.0

package vlan

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/weft-project/weft/internal/bpffs"
	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/pkg/dataplane/ingress"
)

// pinned are the names of the maps that outlive the process, each with the number
// of its layout; a change of what they hold needs another one, and a migration.
var pinned = map[string]string{
	"vl_ports":    "vl_ports_v1",
	"vl_stations": "vl_stations_v1",
	"vl_groups":   "vl_groups_v1",
	"vl_counters": "vl_counters_v1",
}

// basePin begins the names of the pins of base interfaces' links.
const basePin = "vl_base_"

func pinMaps(spec *ebpf.CollectionSpec) {
	for name, pin := range pinned {
		spec.Maps[name].Name = pin // its file's, too
		spec.Maps[name].Pinning = ebpf.PinByName
	}
}

// blockID is the id of the ports' block that goes with a pin directory.
func blockID(pinDir string) uint32 { return ingress.ID(pinDir + "/vlan") }

func (v *VLAN) unpin() error {
	if v.cfg.PinDir == "" {
		return nil
	}
	var errs []error
	for _, pin := range pinned {
		errs = append(errs, removePin(filepath.Join(v.cfg.PinDir, pin)))
	}
	// Fails, rightly, while it holds what is not ours.
	_ = os.Remove(v.cfg.PinDir)
	return errors.Join(errs...)
}

func removePin(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// attach puts the program on a base interface, before those that are there. The
// caller holds mu.
func (v *VLAN) attach(base int) error {
	if old := v.bases[base]; old != nil {
		if info, err := old.Info(); err == nil && info.TCX() != nil && info.TCX().Ifindex == uint32(base) {
			return nil
		}
		// The interface has gone meanwhile.
		if err := v.detach(base); err != nil {
			return err
		}
	}
	var l link.Link
	err := netns.Do(v.cfg.NetNS, func() (err error) {
		l, err = link.AttachTCX(link.TCXOptions{
			Interface: base, Program: v.objects.VlBase, Attach: ebpf.AttachTCXIngress, Anchor: link.Head(),
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("attach vlan to base interface %d: %w", base, err)
	}
	if v.cfg.PinDir != "" {
		path := v.basePath(base)
		if err := errors.Join(removePin(path), l.Pin(path)); err != nil {
			return errors.Join(fmt.Errorf("pin vlan of base interface %d: %w", base, err), l.Close())
		}
	}
	v.bases[base] = l
	return nil
}

func (v *VLAN) basePath(base int) string {
	return filepath.Join(v.cfg.PinDir, basePin+strconv.Itoa(base))
}

// detach takes the program off a base interface. The caller holds mu.
func (v *VLAN) detach(base int) error {
	l := v.bases[base]
	if l == nil {
		return nil
	}
	delete(v.bases, base)
	var errs []error
	if v.cfg.PinDir != "" {
		errs = append(errs, removePin(v.basePath(base)))
	}
	return errors.Join(append(errs, l.Close())...)
}

func (v *VLAN) detachUnused(base int) error {
	for _, p := range v.ports {
		if p.Base == base {
			return nil
		}
	}
	return v.detach(base)
}

// Attached tells whether a base interface has the program.
func (v *VLAN) Attached(base int) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	l := v.bases[base]
	if l == nil {
		return false
	}
	info, err := l.Info()
	return err == nil && info.TCX() != nil && info.TCX().Ifindex == uint32(base)
}

// adopt takes over the ports and base interfaces of an earlier process: what
// follows from the ports is written again, because that process may have died in
// the middle of a change.
func (v *VLAN) adopt() error {
	if v.cfg.PinDir == "" {
		return nil
	}
	var (
		ifindex uint32
		port    vlanPort
		indices []int
	)
	entries := v.objects.VlPorts.Iterate()
	for entries.Next(&ifindex, &port) {
		mac := port.Mac
		v.ports[int(ifindex)] = Port{IfIndex: int(ifindex), Base: int(port.Base), VLAN: int(port.Vlan), MAC: mac[:]}
		indices = append(indices, int(ifindex))
	}
	if err := entries.Err(); err != nil {
		return fmt.Errorf("read ports: %w", err)
	}
	if err := v.mend(); err != nil {
		return err
	}
	if err := v.adoptBases(); err != nil {
		return err
	}
	return v.block.Adopt(indices)
}

// mend makes stations and groups what the ports say.
func (v *VLAN) mend() error {
	stations, groups := map[vlanStationKey]bool{}, map[vlanGroupKey]bool{}
	for _, p := range v.ports {
		stations[p.station()], groups[p.group()] = true, true
		if err := v.follow(p); err != nil {
			return err
		}
	}
	return errors.Join(prune(v.objects.VlStations, stations, vlanStation{}), prune(v.objects.VlGroups, groups, vlanGroup{}))
}

func prune[K comparable, V any](m *ebpf.Map, keep map[K]bool, value V) error {
	var (
		key   K
		stale []K
	)
	entries := m.Iterate()
	for entries.Next(&key, &value) {
		if !keep[key] {
			stale = append(stale, key)
		}
	}
	errs := []error{entries.Err()}
	for _, key := range stale {
		errs = append(errs, ignoreMissing(m.Delete(key)))
	}
	return errors.Join(errs...)
}

// adoptBases gives the base interfaces of an earlier process this program.
func (v *VLAN) adoptBases() error {
	files, err := os.ReadDir(v.cfg.PinDir)
	if err != nil {
		return fmt.Errorf("look for base interfaces: %w", err)
	}
	var errs []error
	for _, file := range files {
		digits, ok := strings.CutPrefix(file.Name(), basePin)
		base, err := strconv.Atoi(digits)
		if !ok || err != nil {
			continue
		}
		l, err := link.LoadPinnedLink(filepath.Join(v.cfg.PinDir, file.Name()), nil)
		if err != nil {
			errs = append(errs, fmt.Errorf("open link of base interface %d: %w", base, err))
			continue
		}
		v.bases[base] = l
		info, err := l.Info()
		if err != nil || info.TCX() == nil || info.TCX().Ifindex == 0 { // the interface is gone
			errs = append(errs, v.detach(base))
			continue
		}
		if err := l.Update(v.objects.VlBase); err != nil {
			errs = append(errs, fmt.Errorf("replace vlan of base interface %d: %w", base, err))
		}
	}
	for _, p := range v.ports { // its process died before it had attached
		if v.bases[p.Base] != nil {
			continue
		}
		if err := v.attach(p.Base); err != nil && !errors.Is(err, fs.ErrNotExist) {
			// An interface that is gone is nobody's error: its ports wait for it.
			continue
		}
	}
	return errors.Join(errs...)
}

// Reattach puts the program on a base interface again that has lost it.
func (v *VLAN) Reattach(base int) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.attach(base)
}

// LostPins returns the paths of pins that have vanished.
func (v *VLAN) LostPins() (lost []string) {
	if v.cfg.PinDir == "" {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	var paths []string
	for _, pin := range pinned {
		paths = append(paths, filepath.Join(v.cfg.PinDir, pin))
	}
	for base := range v.bases {
		paths = append(paths, v.basePath(base))
	}
	for _, path := range paths {
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			lost = append(lost, path)
		}
	}
	return lost
}

// Repin pins anew what LostPins names.
func (v *VLAN) Repin() error {
	if len(v.LostPins()) == 0 {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, err := bpffs.Open(v.cfg.PinDir); err != nil {
		return err
	}
	var errs []error
	again := func(path string, thing interface {
		Unpin() error
		Pin(string) error
	}) {
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, thing.Unpin(), thing.Pin(path)) // it takes itself for pinned still
		}
	}
	maps := v.objects.vlanMaps
	for name, m := range map[string]*ebpf.Map{
		"vl_ports": maps.VlPorts, "vl_stations": maps.VlStations, "vl_groups": maps.VlGroups, "vl_counters": maps.VlCounters,
	} {
		again(filepath.Join(v.cfg.PinDir, pinned[name]), m)
	}
	for base, l := range v.bases {
		again(v.basePath(base), l)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("pin vlan again: %w", err)
	}
	return nil
}
