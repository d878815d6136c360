// SPDX-License-Identifier: Apache-2.0

package bpftest

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// Clear deletes all entries of a pinned map, as somebody with bpftool might.
func Clear(path string) error {
	m, err := ebpf.LoadPinnedMap(path, nil)
	if err != nil {
		return fmt.Errorf("clear map: %w", err)
	}
	defer func() { _ = m.Close() }()
	for {
		key, err := m.NextKeyBytes(nil)
		if err != nil || key == nil {
			return err
		}
		if err := m.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("clear map: %w", err)
		}
	}
}

// Detach takes the program of a pinned link off its hook; the pin stays.
func Detach(path string) error {
	lk, err := link.LoadPinnedLink(path, nil)
	if err != nil {
		return fmt.Errorf("detach link: %w", err)
	}
	return errors.Join(lk.Detach(), lk.Close())
}
