// SPDX-License-Identifier: Apache-2.0

// Package inventory counts the BPF objects of the machine by the names that
// Weft gives them, for leak checks.
package inventory

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
)

// Objects counts BPF programs and maps by "<kind> <name>".
type Objects map[string]int

// Of returns the programs and maps whose name starts with one of the prefixes.
func Of(prefixes ...string) (Objects, error) {
	found := Objects{}
	programs := func(id ebpf.ProgramID) (ebpf.ProgramID, string, error) {
		next, err := ebpf.ProgramGetNextID(id)
		if err != nil {
			return 0, "", err
		}
		p, err := ebpf.NewProgramFromID(next)
		if err != nil {
			return next, "", gone(err)
		}
		defer func() { _ = p.Close() }()
		info, err := p.Info()
		if err != nil {
			return next, "", err
		}
		return next, info.Name, nil
	}
	maps := func(id ebpf.MapID) (ebpf.MapID, string, error) {
		next, err := ebpf.MapGetNextID(id)
		if err != nil {
			return 0, "", err
		}
		m, err := ebpf.NewMapFromID(next)
		if err != nil {
			return next, "", gone(err)
		}
		defer func() { _ = m.Close() }()
		info, err := m.Info()
		if err != nil {
			return next, "", err
		}
		return next, info.Name, nil
	}
	return found, errors.Join(count(found, "program", prefixes, programs), count(found, "map", prefixes, maps))
}

// count walks one kind of object until there is no next id.
func count[ID ~uint32](found Objects, kind string, prefixes []string, next func(ID) (ID, string, error)) error {
	for id := ID(0); ; {
		following, name, err := next(id)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list BPF %ss: %w", kind, err)
		}
		id = following
		for _, p := range prefixes {
			if name != "" && strings.HasPrefix(name, p) {
				found[kind+" "+name]++
				break
			}
		}
	}
}

// gone turns the end of an object between two calls into an empty name.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Pins returns what is pinned below a directory of bpffs.
func Pins(dir string) ([]string, error) {
	var pins []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			pins = append(pins, path)
		}
		return err
	})
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return pins, err
}

// Minus returns what is in o and not in before.
func (o Objects) Minus(before Objects) Objects {
	more := Objects{}
	for what, n := range o {
		if n > before[what] {
			more[what] = n - before[what]
		}
	}
	return more
}
