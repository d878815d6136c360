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

// Files is a Store of one JSON file per attachment, in a directory of its own
// for each run of the machine: no namespace outlives that, so no record means
// anything after it. Therefore nothing waits for the disk either: what a
// process has written another can read, whether it ended or was killed, and
// after a crash of the machine it would not be wanted.
type Files struct{ base, dir string }

type file struct {
	Version int
	Record
}

// NewFiles returns the store below base, which is made if missing.
func NewFiles(base string) (*Files, error) {
	bootID, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, fmt.Errorf("read boot id: %w", err)
	}
	f := &Files{base: base, dir: filepath.Join(base, strings.TrimSpace(string(bootID)))}
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make directory of attachments: %w", err)
	}
	return f, nil
}

// Dir returns where the files of this run of the machine are.
func (f *Files) Dir() string { return f.dir }

// Load returns all records. A file that cannot be read as what Save writes is
// an error: to go on without it would tear down what a workload still uses.
func (f *Files) Load() ([]Record, error) {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return nil, fmt.Errorf("load attachments: %w", err)
	}
	var records []Record
	for _, entry := range entries {
		name, ok := strings.CutSuffix(entry.Name(), storeSuffix)
		if !ok {
			continue // an interrupted Save
		}
		content, err := f.read(entry.Name())
		if err != nil {
			return nil, fmt.Errorf("load attachment from %s: %w", filepath.Join(f.dir, entry.Name()), err)
		}
		if content.Spec.Name != name {
			return nil, fmt.Errorf("load attachment from %s: it is of attachment %q",
				filepath.Join(f.dir, entry.Name()), content.Spec.Name)
		}
		records = append(records, content.Record)
	}
	return records, nil
}

// DeleteStale deletes the records of earlier runs of the machine.
func (f *Files) DeleteStale() error {
	entries, err := os.ReadDir(f.base)
	if err != nil {
		return fmt.Errorf("delete stale attachments: %w", err)
	}
	for _, entry := range entries {
		if entry.Name() == filepath.Base(f.dir) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(f.base, entry.Name())); err != nil {
			return fmt.Errorf("delete stale attachments: %w", err)
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

// Save replaces the record of that name: after it was interrupted there is the
// old or the new one, whole.
func (f *Files) Save(record Record) error {
	data, err := json.MarshalIndent(file{Version: storeVersion, Record: record}, "", "  ")
	if err != nil {
		return fmt.Errorf("save attachment %s: %w", record.Spec.Name, err)
	}
	path := filepath.Join(f.dir, record.Spec.Name+storeSuffix)
	if err := os.WriteFile(path+".new", append(data, '\n'), 0o600); err != nil {
		_ = os.Remove(path + ".new") // what there was room for
		return fmt.Errorf("save attachment %s: %w", record.Spec.Name, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("save attachment %s: %w", record.Spec.Name, err)
	}
	return nil
}

// Delete removes the record of that name; a missing one is no error.
func (f *Files) Delete(name string) error {
	err := os.Remove(filepath.Join(f.dir, name+storeSuffix))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete attachment %s: %w", name, err)
	}
	return nil
}
