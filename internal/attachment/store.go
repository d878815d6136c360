// SPDX-License-Identifier: Apache-2.0

package attachment

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	storeVersion = 1
	storeSuffix  = ".json"
)

// Files is a Store of one JSON file per attachment.
type Files struct {
	dir    string
	bootID string
}

type file struct {
	Version int
	// BootID tells the identities of namespaces of this run of the machine
	// from those of an earlier one.
	BootID string
	Record
}

// NewFiles returns the store in dir, which is made if missing.
func NewFiles(dir string) (*Files, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make directory of attachments: %w", err)
	}
	bootID, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, fmt.Errorf("read boot id: %w", err)
	}
	return &Files{dir: dir, bootID: strings.TrimSpace(string(bootID))}, nil
}

// Load returns all records of this run of the machine; no namespace outlives
// it. A file that cannot be read as what Save writes is an error: to go on
// without it would tear down what a workload still uses.
func (f *Files) Load() ([]Record, error) {
	var records []Record
	err := f.each(func(content file) error {
		if content.BootID == f.bootID {
			records = append(records, content.Record)
		}
		return nil
	})
	return records, err
}

// DeleteStale deletes the records of earlier runs of the machine.
func (f *Files) DeleteStale() error {
	return f.each(func(content file) error {
		if content.BootID == f.bootID {
			return nil
		}
		return f.Delete(content.Spec.Name)
	})
}

func (f *Files) each(fn func(file) error) error {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return fmt.Errorf("load attachments: %w", err)
	}
	for _, entry := range entries {
		name, ok := strings.CutSuffix(entry.Name(), storeSuffix)
		if !ok {
			continue // an interrupted Save
		}
		content, err := f.read(entry.Name())
		if err != nil {
			return fmt.Errorf("load attachment from %s: %w", filepath.Join(f.dir, entry.Name()), err)
		}
		if content.Spec.Name != name {
			return fmt.Errorf("load attachment from %s: it is of attachment %q",
				filepath.Join(f.dir, entry.Name()), content.Spec.Name)
		}
		if err := fn(content); err != nil {
			return err
		}
	}
	return nil
}

func (f *Files) read(name string) (file, error) {
	data, err := os.ReadFile(filepath.Join(f.dir, name))
	if err != nil {
		return file{}, err
	}
	var content file
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&content); err != nil {
		return file{}, err
	}
	if decoder.More() {
		return file{}, errors.New("data after the end of the record")
	}
	if content.Version != storeVersion {
		return file{}, fmt.Errorf("version %d is not known, only %d", content.Version, storeVersion)
	}
	return content, nil
}

// Save replaces the record of that name: after a crash there is the old or the
// new one, whole.
func (f *Files) Save(record Record) error {
	data, err := json.MarshalIndent(file{Version: storeVersion, BootID: f.bootID, Record: record}, "", "  ")
	if err != nil {
		return fmt.Errorf("save attachment %s: %w", record.Spec.Name, err)
	}
	path := filepath.Join(f.dir, record.Spec.Name+storeSuffix)
	if err := writeSynced(path+".new", append(data, '\n')); err != nil {
		return fmt.Errorf("save attachment %s: %w", record.Spec.Name, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("save attachment %s: %w", record.Spec.Name, err)
	}
	return f.syncDir()
}

// Delete removes the record of that name; a missing one is no error.
func (f *Files) Delete(name string) error {
	err := os.Remove(filepath.Join(f.dir, name+storeSuffix))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete attachment %s: %w", name, err)
	}
	return f.syncDir()
}

// syncDir makes renames and removals durable.
func (f *Files) syncDir() error {
	dir, err := os.Open(f.dir)
	if err != nil {
		return fmt.Errorf("sync attachments: %w", err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("sync attachments: %w", err)
	}
	return nil
}

func writeSynced(path string, data []byte) error {
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = out.Write(data)
	return errors.Join(err, out.Sync(), out.Close())
}
