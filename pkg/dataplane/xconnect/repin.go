// SPDX-License-Identifier: Apache-2.0

package xconnect

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/pkg/dataplane/ingress"
)

// Pins can vanish, with a file system that is unmounted or by hand. Ports go on
// forwarding: the blocks hold the programs, and those their maps. Only the next
// process would not find the maps.

// recoverPins pins again what the programs in force use and is pinned no more.
func recoverPins(netNS, dir string) error {
	ports, devices := blocks(dir)
	for _, block := range []uint32{ports, devices} {
		program, err := ingress.Program(netNS, block)
		if err != nil {
			return err
		}
		if program == nil {
			continue
		}
		if err := errors.Join(recoverMaps(program, dir), program.Close()); err != nil {
			return fmt.Errorf("pin the maps of the program in force again: %w", err)
		}
	}
	return nil
}

func recoverMaps(program *ebpf.Program, dir string) error {
	info, err := program.Info()
	if err != nil {
		return err
	}
	ids, _ := info.MapIDs()
	names := slices.AppendSeq(slices.Clone(layout1), maps.Values(pinned))
	for _, id := range ids {
		m, err := ebpf.NewMapFromID(id)
		if err != nil {
			return err
		}
		about, err := m.Info()
		if err == nil && slices.Contains(names, about.Name) && !exists(filepath.Join(dir, about.Name)) {
			err = m.Pin(filepath.Join(dir, about.Name))
		}
		if err := errors.Join(err, m.Close()); err != nil {
			return err
		}
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// LostPins returns the paths of pins that have vanished.
func (x *XConnect) LostPins() (lost []string) {
	if x.pinDir == "" {
		return nil
	}
	for _, pin := range slices.Sorted(maps.Values(pinned)) {
		if path := filepath.Join(x.pinDir, pin); !exists(path) {
			lost = append(lost, path)
		}
	}
	return lost
}

// Repin pins again what has vanished, in a new file system if that is gone, too.
func (x *XConnect) Repin() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed || len(x.LostPins()) == 0 {
		return nil
	}
	if err := x.place.Restore(); err != nil {
		return fmt.Errorf("pin again: %w", err)
	}
	for name, m := range map[string]*ebpf.Map{
		"xc_ports": x.objects.XcPorts, "xc_counters": x.objects.XcCounters,
		"xc_tunnels": x.objects.XcTunnels, "xc_peers": x.objects.XcPeers,
	} {
		if path := filepath.Join(x.pinDir, pinned[name]); !exists(path) {
			if err := pinAgain(m, path); err != nil {
				return fmt.Errorf("pin %s again: %w", name, err)
			}
		}
	}
	return nil
}

// pinAgain pins a copy of the descriptor: the original takes itself for pinned.
func pinAgain(m *ebpf.Map, path string) error {
	fresh, err := m.Clone()
	if err != nil {
		return err
	}
	return errors.Join(fresh.Pin(path), fresh.Close())
}

// Foreign returns the interfaces of a namespace that have joined a block of tc
// other than those that go with a pin directory.
func Foreign(netNS, pinDir string) (others []int, err error) {
	ports, devices := blocks(pinDir)
	err = nl.Do(netNS, func(h *nl.Handle) error {
		joined, err := h.IngressBlocks()
		for ifindex, block := range joined {
			if block != ports && block != devices {
				others = append(others, ifindex)
			}
		}
		return err
	})
	return others, err
}

// Discard removes the pins of ports whose namespace is gone. Nothing there is no
// error.
func Discard(pinDir string) error {
	x := &XConnect{pinDir: pinDir}
	return errors.Join(x.dropOld(), x.unpin())
}
