// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
)

// Object is a BPF program or map. An ID is not used again until the next boot.
type Object struct {
	Kind string // "program" or "map"
	ID   uint32
	Name string
}

// Objects is a set.
type Objects map[Object]bool

// Of returns the programs and maps whose name starts with one of the prefixes.
func Of(prefixes ...string) (Objects, error) {
	found := Objects{}
	return found, errors.Join(
		list(found, "program", prefixes, ebpf.ProgramGetNextID, programName),
		list(found, "map", prefixes, ebpf.MapGetNextID, mapName))
}

func programName(id ebpf.ProgramID) (string, error) {
	p, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return "", err
	}
	defer func() { _ = p.Close() }()
	info, err := p.Info()
	if err != nil {
		return "", err
	}
	return info.Name, nil
}

func mapName(id ebpf.MapID) (string, error) {
	m, err := ebpf.NewMapFromID(id)
	if err != nil {
		return "", err
	}
	defer func() { _ = m.Close() }()
	info, err := m.Info()
	if err != nil {
		return "", err
	}
	return info.Name, nil
}

// list walks one kind of object until there is no next id.
func list[ID ~uint32](found Objects, kind string, prefixes []string, next func(ID) (ID, error), name func(ID) (string, error)) error {
	for id := ID(0); ; {
		var err error
		if id, err = next(id); errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err != nil {
			return fmt.Errorf("list BPF %ss: %w", kind, err)
		}
		text, err := name(id)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it ended between the two calls
		}
		if err != nil {
			return fmt.Errorf("look at BPF %s %d: %w", kind, id, err)
		}
		for _, p := range prefixes {
			if strings.HasPrefix(text, p) {
				found[Object{kind, uint32(id), text}] = true
				break
			}
		}
	}
}

// Minus returns what is in o and in none of the others.
func (o Objects) Minus(others ...Objects) Objects {
	rest := Objects{}
	for object := range o {
		rest[object] = true
		for _, other := range others {
			if other[object] {
				delete(rest, object)
			}
		}
	}
	return rest
}

// HeldElsewhere returns those of o of which another process has a descriptor.
func (o Objects) HeldElsewhere() Objects {
	held := Objects{}
	files, _ := filepath.Glob("/proc/[0-9]*/fdinfo/*") // the pattern is good
	self := fmt.Sprintf("/proc/%d/", os.Getpid())
	for _, path := range files {
		if strings.HasPrefix(path, self) {
			continue
		}
		kind, id, ok := describe(path)
		for object := range o {
			if ok && object.Kind == kind && object.ID == id {
				held[object] = true
			}
		}
	}
	return held
}

// describe reads which BPF object a descriptor is of; processes and their
// descriptors may end meanwhile.
func describe(fdinfo string) (kind string, id uint32, ok bool) {
	file, err := os.Open(fdinfo)
	if err != nil {
		return "", 0, false
	}
	defer func() { _ = file.Close() }()
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		key, value, _ := strings.Cut(scanner.Text(), ":")
		switch key {
		case "prog_id":
			kind = "program"
		case "map_id":
			kind = "map"
		default:
			continue
		}
		number, err := strconv.ParseUint(strings.TrimSpace(value), 10, 32)
		return kind, uint32(number), err == nil
	}
	return "", 0, false
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
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return pins, err
}
