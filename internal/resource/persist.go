// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/weft-project/weft/pkg/apis/v1alpha1"
)

// stateFile holds the whole set, so that one rename changes all of it.
const stateFile = "resources.json"

type state struct {
	Generation uint64            `json:"generation"`
	Objects    []json.RawMessage `json:"objects"`
}

// load reads the set of a directory. A directory without one is the empty set.
func load(dir string) (*Snapshot, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, stateFile)
	// A crash while writing leaves a temporary file, which nobody will read.
	if err := os.Remove(path + ".new"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newSnapshot(0, nil), nil
	}
	if err != nil {
		return nil, err
	}
	var st state
	if err := unmarshalStrict(data, &st); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	docs := make([]*Document, 0, len(st.Objects))
	objects := make(map[Key]v1alpha1.Object, len(st.Objects))
	now := time.Now().UTC()
	for i, raw := range st.Objects {
		o, err := unmarshalObject(raw)
		if err != nil {
			return nil, fmt.Errorf("%s: object %d: %w", path, i, err)
		}
		setDefaults(o)
		docs = append(docs, &Document{Object: o})
		objects[KeyOf(o)] = withConditions(o, now, acceptedConditions(o)...)
	}
	if errs := Check(docs).Errors(); len(errs) > 0 {
		return nil, fmt.Errorf("%s: %w", path, errs)
	}
	return newSnapshot(st.Generation, objects), nil
}

func unmarshalObject(raw []byte) (v1alpha1.Object, error) {
	var t v1alpha1.TypeMeta
	if err := json.Unmarshal(raw, &t); err != nil {
		return nil, err
	}
	info, ok := v1alpha1.LookupKind(t.Kind)
	if !ok || t.APIVersion != v1alpha1.APIVersion {
		return nil, fmt.Errorf("kind %q of %q is not known", t.Kind, t.APIVersion)
	}
	o := info.New()
	return o, unmarshalStrict(raw, o)
}

func unmarshalStrict(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	return dec.Decode(v)
}

// save replaces the set of a directory. After a crash there is either the old
// set or the new one.
func save(dir string, s *Snapshot) error {
	st := state{Generation: s.Generation, Objects: []json.RawMessage{}}
	for _, o := range s.List("") {
		// What was observed is observed anew after a restart.
		o = shallowCopy(o)
		*o.GetStatus() = v1alpha1.Status{}
		raw, err := json.Marshal(o)
		if err != nil {
			return err
		}
		st.Objects = append(st.Objects, raw)
	}
	data, err := json.MarshalIndent(st, "", " ")
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(dir, stateFile), data)
}

func replaceFile(path string, data []byte) error {
	temporary := path + ".new"
	if err := writeSynced(temporary, data); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	if err := os.Rename(temporary, path); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	return syncDir(filepath.Dir(path))
}

func writeSynced(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncDir makes a rename last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
