// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/cilium/ebpf/link"

	"github.com/weft-project/weft/internal/netns"
)

// LostPins returns the paths of pins that have vanished. What they held works on
// as long as the process lives.
func (l *LB) LostPins() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lostPins()
}

// lostPins is LostPins. The caller holds mu.
func (l *LB) lostPins() (lost []string) {
	if !l.pinned || l.succeeded() {
		return nil
	}
	names := slices.Collect(maps.Keys(l.held()))
	for _, name := range append(names, recordName) {
		path := filepath.Join(l.cfg.PinDir, name)
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			lost = append(lost, path)
		}
	}
	slices.Sort(lost)
	return lost
}

// held returns the links that are to be pinned, by name. The caller holds mu.
func (l *LB) held() map[string]link.Link {
	held := maps.Clone(l.inherited)
	if held == nil {
		held = map[string]link.Link{}
	}
	for _, a := range l.links {
		held[a.name] = a.link
	}
	return held
}

// Repin pins again what has vanished, in a new file system if that is gone, too.
func (l *LB) Repin() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	lost := l.lostPins()
	if len(lost) == 0 {
		return nil
	}
	if err := l.place.Restore(); err != nil {
		return fmt.Errorf("pin again: %w", err)
	}
	held := l.held()
	for _, path := range lost {
		name := filepath.Base(path)
		if lk := held[name]; lk != nil {
			if err := pin(lk, l.cfg.PinDir, name); err != nil {
				return fmt.Errorf("pin again: %w", err)
			}
		} else if err := l.record.write(l.cfg.PinDir); err != nil {
			return fmt.Errorf("pin again: write record: %w", err)
		}
	}
	return nil
}

// Bare returns the hooks of the external interface that have lost their program,
// and the legs that have lost the reply program. While a predecessor works, both
// are its affair; so they are a successor's.
func (l *LB) Bare() (hooks []string, legs []int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shadow || l.objs == nil || l.succeeded() {
		return nil, nil, nil
	}
	for _, a := range l.links {
		there, err := attached(a)
		if err != nil {
			return nil, nil, err
		}
		if !there {
			hooks = append(hooks, a.name)
		}
	}
	l.legsMu.Lock()
	defer l.legsMu.Unlock()
	for _, ifindex := range slices.Sorted(maps.Keys(l.legs)) {
		joined, err := l.block.Joined(ifindex)
		if err != nil {
			return nil, nil, err
		}
		if !joined {
			legs = append(legs, ifindex)
		}
	}
	return hooks, legs, nil
}

// attached says that a link is still of the interface: one that is detached by
// force remains, and belongs to none.
func attached(a attachment) (bool, error) {
	info, err := a.link.Info()
	if err != nil {
		return false, err
	}
	if tcx := info.TCX(); tcx != nil {
		return tcx.Ifindex != 0, nil
	}
	if xdp := info.XDP(); xdp != nil {
		return xdp.Ifindex != 0, nil
	}
	return true, nil
}

// Dress puts the programs back where Bare misses them.
func (l *LB) Dress() error {
	hooks, legs, err := l.Bare()
	if err != nil || len(hooks)+len(legs) == 0 {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, name := range hooks {
		errs = append(errs, l.attachAgain(name))
	}
	l.legsMu.Lock()
	defer l.legsMu.Unlock()
	for _, ifindex := range legs {
		if l.legs[ifindex] > 0 {
			errs = append(errs, l.block.Join(ifindex))
		}
	}
	return errors.Join(errs...)
}

// attachAgain replaces a link that is detached. The caller holds mu.
func (l *LB) attachAgain(name string) error {
	i := slices.IndexFunc(l.links, func(a attachment) bool { return a.name == name })
	if i < 0 {
		return nil
	}
	old := l.links[i]
	l.links = slices.Delete(l.links, i, i+1)
	err := netns.Do(l.cfg.NetNS, func() error { return l.attachAt(old.hook) })
	if err != nil {
		l.links = append(l.links, old)
		return fmt.Errorf("attach lb to %s: %w", l.cfg.Interface, err)
	}
	// The first link is that by which a successor is known.
	slices.SortFunc(l.links, func(a, b attachment) int { return order(a.name) - order(b.name) })
	return old.link.Close()
}

func order(name string) int {
	return slices.IndexFunc(hooks[:], func(h hook) bool { return h.name == name })
}
