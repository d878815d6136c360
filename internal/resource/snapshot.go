// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"errors"
	"slices"

	"github.com/weft-project/weft/pkg/apis/v1alpha1"
)

// ErrNotFound is wrapped by errors about objects that do not exist.
var ErrNotFound = errors.New("not found")

// Snapshot is an accepted set of objects. It never changes, and neither may
// whoever reads it change an object of it.
type Snapshot struct {
	// Generation grows by one with every accepted change of the wanted state.
	// Changes of conditions do not count.
	Generation uint64

	objects map[Key]v1alpha1.Object
	keys    []Key
}

func newSnapshot(generation uint64, objects map[Key]v1alpha1.Object) *Snapshot {
	s := &Snapshot{Generation: generation, objects: objects, keys: make([]Key, 0, len(objects))}
	for k := range objects {
		s.keys = append(s.keys, k)
	}
	sortKeys(s.keys)
	return s
}

// Get returns an object.
func (s *Snapshot) Get(key Key) (v1alpha1.Object, bool) {
	o, ok := s.objects[key]
	return o, ok
}

// Len returns the number of objects.
func (s *Snapshot) Len() int { return len(s.keys) }

// List returns the objects of a kind, or all if kind is empty, sorted by kind,
// namespace and name.
func (s *Snapshot) List(kind string) []v1alpha1.Object {
	var out []v1alpha1.Object
	for _, k := range s.keys {
		if kind == "" || k.Kind == kind {
			out = append(out, s.objects[k])
		}
	}
	return out
}

// OfTrench returns the objects of a type that belong to a trench. The names of
// trenches are unique over all namespaces.
func OfTrench[T v1alpha1.Object](s *Snapshot, trench string) []T {
	var out []T
	for _, k := range s.keys {
		o, ok := s.objects[k].(T)
		if ok && o.GetMeta().Trench() == trench {
			out = append(out, o)
		}
	}
	return out
}

// Attractor returns the attractor of a conduit, or nil.
func (s *Snapshot) Attractor(trench, conduit string) *v1alpha1.Attractor {
	for _, a := range OfTrench[*v1alpha1.Attractor](s, trench) {
		if slices.Contains(a.Spec.Composites, conduit) {
			return a
		}
	}
	return nil
}

// documents returns the objects as documents without a file.
func (s *Snapshot) documents() []*Document {
	docs := make([]*Document, len(s.keys))
	for i, k := range s.keys {
		docs[i] = &Document{Object: s.objects[k]}
	}
	return docs
}
