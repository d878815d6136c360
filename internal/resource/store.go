// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weft-project/weft/pkg/apis/v1alpha1"
)

// Action says what a change did to an object.
type Action string

// The actions.
const (
	Created    Action = "created"
	Configured Action = "configured"
	Unchanged  Action = "unchanged"
	Deleted    Action = "deleted"
)

// Change is what happened to one object.
type Change struct {
	Key    Key
	Action Action
}

// Result is the outcome of an accepted change.
type Result struct {
	// Changes are in the order of the files, deletions last.
	Changes  []Change
	Warnings Problems
	// Generation is that of the snapshot that holds the result.
	Generation uint64
}

// ApplyOptions modify Apply.
type ApplyOptions struct {
	// DryRun computes the result and changes nothing.
	DryRun bool
	// Prune deletes the objects that the files do not have.
	Prune bool
}

// Store holds the accepted set of objects. Reading takes no lock.
type Store struct {
	dir      string // empty: in memory only
	snapshot atomic.Pointer[Snapshot]

	mu          sync.Mutex // held by writers and around subscribers
	subscribers map[chan struct{}]struct{}
}

// Open returns the store that is kept in a directory, which is made if it is
// not there. What cannot be read or is not valid is an error: to start with
// fewer rules than were accepted would be worse. An empty dir means in memory
// only.
func Open(dir string) (*Store, error) {
	s := &Store{dir: dir, subscribers: map[chan struct{}]struct{}{}}
	snapshot := newSnapshot(0, nil)
	if dir != "" {
		var err error
		if snapshot, err = load(dir); err != nil {
			return nil, fmt.Errorf("load resources: %w", err)
		}
	}
	s.snapshot.Store(snapshot)
	return s, nil
}

// Snapshot returns the accepted set.
func (s *Store) Snapshot() *Snapshot { return s.snapshot.Load() }

// Subscribe returns a channel that gets a value when there is a new snapshot:
// after a change of the wanted state or of a condition. Changes that come while
// nobody receives are one. The function ends the subscription.
func (s *Store) Subscribe() (<-chan struct{}, func()) {
	c := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subscribers[c] = struct{}{}
	return c, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.subscribers, c)
	}
}

// publish makes a snapshot visible; s.mu is held.
func (s *Store) publish(snapshot *Snapshot) {
	s.snapshot.Store(snapshot)
	for c := range s.subscribers {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// Apply adds the objects of the files to the set or changes them. Either all
// of it is valid together with what is there already, or nothing changes and
// the error is Problems.
func (s *Store) Apply(files []File, opts ApplyOptions) (Result, error) {
	docs, problems := Decode(files)
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.Snapshot()
	fresh := map[Key]bool{}
	for _, d := range docs {
		fresh[d.Key()] = true
	}
	var all []*Document
	if !opts.Prune {
		all = slices.DeleteFunc(old.documents(), func(d *Document) bool { return fresh[d.Key()] })
	}
	all = append(all, docs...)
	problems = append(problems, Check(all)...)
	for _, d := range docs {
		checkImmutable(d, old, &problems)
	}
	problems.sortByPlace(files)
	if errs := problems.Errors(); len(errs) > 0 {
		return Result{}, errs
	}
	next, changes := merge(old, docs, opts.Prune)
	result := Result{Changes: changes, Warnings: problems.Warnings(), Generation: next.Generation}
	if opts.DryRun || next == old {
		return result, nil
	}
	return result, s.commit(next)
}

// checkImmutable: moving an object to another trench would take it out of the
// first without saying so.
func checkImmutable(d *Document, old *Snapshot, problems *Problems) {
	before, ok := old.Get(d.Key())
	if !ok {
		return
	}
	if was, is := before.GetMeta().Trench(), d.Object.GetMeta().Trench(); was != is && is != "" {
		(&checker{doc: d, problems: problems}).errorf("metadata.labels.trench",
			"cannot change from %q to %q; delete the %s first", was, is, d.Key())
	}
}

// merge returns the snapshot after a valid change, which is old itself if
// nothing changes. Unchanged objects stay the same values.
func merge(old *Snapshot, docs []*Document, prune bool) (*Snapshot, []Change) {
	objects := maps.Clone(old.objects)
	if objects == nil {
		objects = map[Key]v1alpha1.Object{}
	}
	now := time.Now().UTC()
	var changes []Change
	changed := false
	kept := map[Key]bool{}
	for _, d := range docs {
		key := d.Key()
		kept[key] = true
		object, action := mergeObject(old, d.Object, now)
		objects[key] = object
		changes = append(changes, Change{key, action})
		changed = changed || action != Unchanged
	}
	if prune {
		for _, key := range old.keys {
			if !kept[key] {
				delete(objects, key)
				changes = append(changes, Change{key, Deleted})
				changed = true
			}
		}
	}
	if !changed {
		return old, changes
	}
	return newSnapshot(old.Generation+1, objects), changes
}

func mergeObject(old *Snapshot, o v1alpha1.Object, now time.Time) (v1alpha1.Object, Action) {
	meta := o.GetMeta()
	before, ok := old.Get(KeyOf(o))
	if !ok {
		meta.Generation = 1
		return withConditions(o, now, acceptedConditions(o)...), Created
	}
	was := before.GetMeta()
	meta.Generation = was.Generation
	sameSpec := bytes.Equal(specOf(before), specOf(o))
	sameMeta := maps.Equal(was.Labels, meta.Labels) && maps.Equal(was.Annotations, meta.Annotations)
	switch {
	case sameSpec && sameMeta:
		return before, Unchanged
	case sameSpec:
		*o.GetStatus() = *before.GetStatus()
		return o, Configured
	}
	meta.Generation++
	o.GetStatus().Conditions = before.GetStatus().Conditions
	return withConditions(o, now, acceptedConditions(o)...), Configured
}

// specOf returns the spec as it is kept, where an empty list and none are the
// same.
func specOf(o v1alpha1.Object) []byte {
	b, err := json.Marshal(reflect.ValueOf(o).Elem().FieldByName("Spec").Interface())
	if err != nil {
		panic(fmt.Sprintf("resource: %s: %v", KeyOf(o), err)) // plain data always marshals
	}
	return b
}

// DeleteOptions modify Delete.
type DeleteOptions struct {
	// DryRun computes the result and changes nothing.
	DryRun bool
	// IgnoreNotFound skips keys that do not exist.
	IgnoreNotFound bool
}

// Delete removes objects. Either the rest is valid without them, or nothing
// changes and the error is Problems; a key that does not exist is ErrNotFound.
func (s *Store) Delete(keys []Key, opts DeleteOptions) (Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.Snapshot()
	objects := maps.Clone(old.objects)
	var changes []Change
	for _, key := range keys {
		if _, ok := old.objects[key]; !ok && !opts.IgnoreNotFound {
			return Result{}, fmt.Errorf("%s: %w", key, ErrNotFound)
		}
		if _, ok := objects[key]; ok {
			delete(objects, key)
			changes = append(changes, Change{key, Deleted})
		}
	}
	if len(changes) == 0 {
		return Result{Generation: old.Generation}, nil
	}
	next := newSnapshot(old.Generation+1, objects)
	if errs := Check(next.documents()).Errors(); len(errs) > 0 {
		for i := range errs {
			errs[i].Reason = "after the deletion " + errs[i].Reason
		}
		return Result{}, errs
	}
	result := Result{Changes: changes, Generation: next.Generation}
	if opts.DryRun {
		return result, nil
	}
	return result, s.commit(next)
}

// commit makes a snapshot last, then visible; s.mu is held. If it cannot be
// written nothing changes.
func (s *Store) commit(next *Snapshot) error {
	if s.dir != "" {
		if err := save(s.dir, next); err != nil {
			return fmt.Errorf("keep resources: %w", err)
		}
	}
	s.publish(next)
	return nil
}

// SetConditions records observations about an object. The generation is that
// of the object observed: observations of an older one are dropped, and so are
// those of objects that are gone.
func (s *Store) SetConditions(key Key, generation int64, conditions ...v1alpha1.Condition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.observe(map[Key]observation{key: {generation, conditions}})
}

// Observe records observations about several objects of a snapshot. Those of
// objects that have changed since, or are gone, are dropped.
func (s *Store) Observe(of *Snapshot, conditions map[Key][]v1alpha1.Condition) {
	observations := map[Key]observation{}
	for key, list := range conditions {
		if o, ok := of.Get(key); ok {
			observations[key] = observation{o.GetMeta().Generation, list}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.observe(observations)
}

// observation is what was seen of an object of a generation.
type observation struct {
	generation int64
	conditions []v1alpha1.Condition
}

// observe publishes a snapshot of the same generation with new conditions, if
// any of them is news; s.mu is held.
func (s *Store) observe(observations map[Key]observation) {
	old := s.Snapshot()
	now := time.Now().UTC()
	news := map[Key]v1alpha1.Object{}
	for key, seen := range observations {
		o, ok := old.Get(key)
		if !ok || o.GetMeta().Generation != seen.generation {
			continue
		}
		if next := withConditions(o, now, seen.conditions...); next != o {
			news[key] = next
		}
	}
	if len(news) == 0 {
		return
	}
	objects := maps.Clone(old.objects)
	maps.Copy(objects, news)
	s.publish(&Snapshot{Generation: old.Generation, objects: objects, keys: old.keys})
}
