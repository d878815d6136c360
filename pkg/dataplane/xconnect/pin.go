// SPDX-License-Identifier: Apache-2.0

package xconnect

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
)

// pinned are the names of the maps that outlive the process, each with the
// number of its layout. A process that finds an older layout carries it over
// into maps of its own, beside those that the running program reads, and
// removes it when its own program has taken over. Until then the old one is
// the truth: a process that died on the way changes nothing.
var pinned = map[string]string{
	"xc_ports":    "xc_ports_v2",
	"xc_counters": "xc_counters_v2",
	"xc_tunnels":  "xc_tunnels_v2",
	"xc_peers":    "xc_peers_v2",
}

// pins opens maps in a directory, or makes them.
func pins(spec *ebpf.CollectionSpec) {
	for name, pin := range pinned {
		spec.Maps[name].Name = pin // its file's, too
		spec.Maps[name].Pinning = ebpf.PinByName
	}
}

func (x *XConnect) unpin() error {
	if x.pinDir == "" {
		return nil
	}
	var errs []error
	for _, pin := range pinned {
		if err := os.Remove(filepath.Join(x.pinDir, pin)); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	// Fails, rightly, while it holds what is not ours.
	_ = os.Remove(x.pinDir)
	return errors.Join(errs...)
}

// layout1 is what was pinned before there were tunnels.
var layout1 = []string{"xc_ports", "xc_counters"}

type port1 struct {
	Ifindex, Generation, Client, Mark, Kind, LegCount, LocalCount uint32
	Legs                                                          [64]struct {
		Ifindex uint32
		MAC     [6]byte
		Flags   uint16
	}
}

// carryOver takes the ports and counters of layout 1 over, if there are any.
func (x *XConnect) carryOver() error {
	err := withPinned(filepath.Join(x.pinDir, layout1[0]), func(m *ebpf.Map) error {
		var (
			ifindex uint32
			old     port1
		)
		entries := m.Iterate()
		for entries.Next(&ifindex, &old) {
			if err := x.write(old.carryOver()); err != nil {
				return err
			}
		}
		return entries.Err()
	})
	if err != nil {
		return fmt.Errorf("carry ports over: %w", err)
	}
	err = withPinned(filepath.Join(x.pinDir, layout1[1]), func(m *ebpf.Map) error {
		var (
			reason uint32
			perCPU []uint64
		)
		entries := m.Iterate()
		for entries.Next(&reason, &perCPU) {
			if err := x.objects.XcCounters.Put(reason, perCPU); err != nil {
				return err
			}
		}
		return entries.Err()
	})
	if err != nil {
		return fmt.Errorf("carry counters over: %w", err)
	}
	return nil
}

func (old port1) carryOver() xconnectPort {
	port := xconnectPort{
		Ifindex: old.Ifindex, Mark: old.Mark, Kind: xconnectPortKind(old.Kind),
		LegCount: old.LegCount, LocalCount: old.LocalCount,
	}
	for i, leg := range old.Legs[:min(int(old.LegCount), MaxLegs)] {
		port.Legs[i] = xconnectLeg{Ifindex: leg.Ifindex, Mac: leg.MAC}
	}
	if port.Kind == xconnectPortKindPORT_ENDPOINT {
		port.LegCount, port.Legs[0] = 1, xconnectLeg{Ifindex: old.Client}
	}
	return port
}

// dropOld removes the pins of older layouts.
func (x *XConnect) dropOld() error {
	var errs []error
	for _, pin := range layout1 {
		if err := os.Remove(filepath.Join(x.pinDir, pin)); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// withPinned calls fn with a pinned map, if there is one.
func withPinned(path string, fn func(*ebpf.Map) error) error {
	m, err := ebpf.LoadPinnedMap(path, &ebpf.LoadPinOptions{ReadOnly: true})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(fn(m), m.Close())
}
