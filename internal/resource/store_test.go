// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-project/weft/pkg/apis/v1alpha1"
)

func openStore(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func apply(t *testing.T, s *Store, yaml string) Result {
	t.Helper()
	result, err := s.Apply([]File{{"f", []byte(yaml)}}, ApplyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func actions(r Result) map[Action]int {
	out := map[Action]int{}
	for _, c := range r.Changes {
		out[c.Action]++
	}
	return out
}

func get[T v1alpha1.Object](t *testing.T, s *Snapshot, kind, name string) T {
	t.Helper()
	o, ok := s.Get(Key{kind, "default", name})
	if !ok {
		t.Fatalf("no %s %s", kind, name)
	}
	return o.(T)
}

func TestStoreApply(t *testing.T) {
	s := openStore(t, "")
	r := apply(t, s, base)
	if diff := cmp.Diff(map[Action]int{Created: 12}, actions(r)); diff != "" || r.Generation != 1 {
		t.Errorf("first apply: generation %d, actions (-want +got):\n%s", r.Generation, diff)
	}
	before := s.Snapshot()
	r = apply(t, s, base)
	if diff := cmp.Diff(map[Action]int{Unchanged: 12}, actions(r)); diff != "" {
		t.Errorf("second apply (-want +got):\n%s", diff)
	}
	if s.Snapshot() != before {
		t.Error("an apply without changes made a new snapshot")
	}

	r = apply(t, s, manifest("Stream", "web", "conduit: lb\nmax-targets: 7")+"---\n"+manifest("Vip", "new", "address: 20.0.0.9/32"))
	want := []Change{{Key{"Stream", "default", "web"}, Configured}, {Key{"Vip", "default", "new"}, Created}}
	if diff := cmp.Diff(want, r.Changes); diff != "" || r.Generation != 2 {
		t.Errorf("third apply: generation %d, changes (-want +got):\n%s", r.Generation, diff)
	}
	now := s.Snapshot()
	if g := get[*v1alpha1.Stream](t, now, "Stream", "web").Metadata.Generation; g != 2 {
		t.Errorf("generation of the changed stream = %d, want 2", g)
	}
	if get[*v1alpha1.Stream](t, before, "Stream", "web") == get[*v1alpha1.Stream](t, now, "Stream", "web") {
		t.Error("the changed stream is the same value in both snapshots")
	}
	if n := *get[*v1alpha1.Stream](t, before, "Stream", "web").Spec.MaxTargets; n != 100 {
		t.Errorf("the old snapshot changed: max-targets %d", n)
	}
	if get[*v1alpha1.Flow](t, before, "Flow", "web") != get[*v1alpha1.Flow](t, now, "Flow", "web") {
		t.Error("an unchanged flow is another value in the new snapshot")
	}
}

func TestStoreMetadataChange(t *testing.T) {
	s := openStore(t, "")
	apply(t, s, base)
	r := apply(t, s, "apiVersion: weft.dev/v1alpha1\nkind: Trench\nmetadata: {name: a, annotations: {x: y}}\n")
	o := get[*v1alpha1.Trench](t, s.Snapshot(), "Trench", "a")
	if r.Changes[0].Action != Configured || o.Metadata.Generation != 1 || o.Metadata.Annotations["x"] != "y" || len(o.Status.Conditions) == 0 {
		t.Errorf("action %s, object %+v", r.Changes[0].Action, o)
	}
}

func TestBadFileChangesNothing(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	apply(t, s, base)
	onDisk, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		t.Fatal(err)
	}
	before := s.Snapshot()
	changed, cancel := s.Subscribe()
	defer cancel()
	good := manifest("Vip", "fine", "address: 20.0.0.9/32")
	for name, bad := range map[string]string{
		"syntax":       "a: [",
		"field":        manifest("Vip", "x", "addr: 20.0.0.8/32"),
		"value":        manifest("Vip", "x", "address: nonsense"),
		"reference":    manifest("Stream", "x", "conduit: nope"),
		"other object": manifest("Stream", "web", "conduit: lb2") + "---\n" + manifest("Flow", "y", "stream: api\nvips: [v4]\nprotocols: [udp]\npriority: 1"),
		"moved trench": "apiVersion: weft.dev/v1alpha1\nkind: Trench\nmetadata: {name: b}\n---\napiVersion: weft.dev/v1alpha1\nkind: Vip\nmetadata: {name: v6, labels: {trench: b}}\nspec: {address: 2000::1/128}\n",
	} {
		t.Run(name, func(t *testing.T) {
			for _, opts := range []ApplyOptions{{}, {DryRun: true}} {
				_, err := s.Apply([]File{{"good", []byte(good)}, {"bad", []byte(bad)}}, opts)
				var problems Problems
				if !errors.As(err, &problems) || len(problems) == 0 {
					t.Fatalf("error = %v, want problems", err)
				}
				if len(problems.Warnings()) > 0 {
					t.Errorf("warnings among the errors: %v", problems)
				}
			}
			if s.Snapshot() != before {
				t.Error("the snapshot changed")
			}
			if now, err := os.ReadFile(filepath.Join(dir, stateFile)); err != nil || string(now) != string(onDisk) {
				t.Errorf("the file changed (%v)", err)
			}
			select {
			case <-changed:
				t.Error("subscribers were told of a change")
			default:
			}
		})
	}
}

func TestDryRunChangesNothing(t *testing.T) {
	s := openStore(t, t.TempDir())
	apply(t, s, base)
	before := s.Snapshot()
	r, err := s.Apply([]File{{"f", []byte(manifest("Vip", "new", "address: 20.0.0.9/32"))}}, ApplyOptions{DryRun: true})
	if err != nil || len(r.Changes) != 1 || r.Changes[0].Action != Created {
		t.Errorf("result %+v, error %v", r, err)
	}
	if s.Snapshot() != before {
		t.Error("the snapshot changed")
	}
}

func TestPrune(t *testing.T) {
	s := openStore(t, "")
	apply(t, s, base+"---\n"+manifest("Vip", "extra", "address: 20.0.0.9/32"))
	r, err := s.Apply([]File{{"f", []byte(base)}}, ApplyOptions{Prune: true})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[Action]int{Unchanged: 12, Deleted: 1}, actions(r)); diff != "" {
		t.Errorf("actions (-want +got):\n%s", diff)
	}
	if _, ok := s.Snapshot().Get(Key{"Vip", "default", "extra"}); ok {
		t.Error("the vip is still there")
	}
}

func TestDelete(t *testing.T) {
	s := openStore(t, "")
	apply(t, s, base)
	before := s.Snapshot()
	_, err := s.Delete([]Key{{"Vip", "default", "nope"}}, DeleteOptions{})
	if !errors.Is(err, ErrNotFound) {
		t.Errorf("error = %v, want ErrNotFound", err)
	}
	_, err = s.Delete([]Key{{"Vip", "default", "v6"}, {"Vip", "default", "v4"}}, DeleteOptions{})
	want := `Flow web: spec.vips[0]: after the deletion there is no Vip "v4" in namespace default
Attractor att: spec.vips[0]: after the deletion there is no Vip "v4" in namespace default`
	if err == nil || err.Error() != want {
		t.Errorf("error = %v, want %s", err, want)
	}
	if s.Snapshot() != before {
		t.Error("a refused deletion changed the snapshot")
	}
	keys := []Key{{"Vip", "default", "v4"}, {"Flow", "default", "web"}, {"Attractor", "default", "att"}, {"Flow", "default", "web"}}
	if r, err := s.Delete(keys, DeleteOptions{DryRun: true}); err != nil || len(r.Changes) != 3 || s.Snapshot() != before {
		t.Errorf("dry run: %+v, %v", r, err)
	}
	keys = append(keys, Key{"Vip", "default", "nope"})
	if r, err := s.Delete(keys, DeleteOptions{IgnoreNotFound: true}); err != nil || len(r.Changes) != 3 || s.Snapshot().Len() != 9 {
		t.Errorf("deletion: %+v, %v, %d objects left", r, err, s.Snapshot().Len())
	}
}

func TestPersistence(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "state")
	s := openStore(t, dir)
	apply(t, s, base)
	apply(t, s, manifest("Stream", "web", "conduit: lb\nmax-targets: 7"))
	if _, err := s.Delete([]Key{{"Vip", "default", "v6"}}, DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	// What a crash in the middle of writing leaves behind.
	if err := os.WriteFile(filepath.Join(dir, stateFile+".new"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	again := openStore(t, dir)
	specs := func(s *Snapshot) map[string]string {
		out := map[string]string{}
		for _, o := range s.List("") {
			out[KeyOf(o).String()] = string(specOf(o))
		}
		return out
	}
	if diff := cmp.Diff(specs(s.Snapshot()), specs(again.Snapshot())); diff != "" {
		t.Errorf("after opening again (-before +after):\n%s", diff)
	}
	if g := again.Snapshot().Generation; g != 3 {
		t.Errorf("generation = %d, want 3", g)
	}
	if g := get[*v1alpha1.Stream](t, again.Snapshot(), "Stream", "web").Metadata.Generation; g != 2 {
		t.Errorf("generation of the stream = %d, want 2", g)
	}
	r := apply(t, again, strings.Replace(base, "labels: {trench: a}}\nspec: {conduit: lb}", "labels: {trench: a}}\nspec: {conduit: lb, max-targets: 7}", 1))
	if diff := cmp.Diff(map[Action]int{Unchanged: 11, Created: 1}, actions(r)); diff != "" {
		t.Errorf("applying the same again (-want +got):\n%s", diff)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("directory: %v, %v; want the state file alone", entries, err)
	}
}

func TestOpenFailsClosed(t *testing.T) {
	for name, content := range map[string]string{
		"not JSON":      "{",
		"unknown field": `{"generation": 1, "objekts": []}`,
		"unknown kind":  `{"generation": 1, "objects": [{"apiVersion": "weft.dev/v1alpha1", "kind": "Router"}]}`,
		"not valid":     `{"generation": 1, "objects": [{"apiVersion": "weft.dev/v1alpha1", "kind": "Stream", "metadata": {"name": "x", "namespace": "default", "labels": {"trench": "a"}}, "spec": {}}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, stateFile), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Open(dir)
			if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, stateFile)) {
				t.Errorf("error = %v, want one that names the file", err)
			}
		})
	}
}

// A change that cannot be written is not made.
func TestUnwritableDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	s := openStore(t, dir)
	apply(t, s, base)
	before := s.Snapshot()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Apply([]File{{"f", []byte(manifest("Vip", "new", "address: 20.0.0.9/32"))}}, ApplyOptions{}); err == nil {
		t.Error("no error")
	}
	if s.Snapshot() != before {
		t.Error("the snapshot changed")
	}
}

func TestSubscribe(t *testing.T) {
	s := openStore(t, "")
	changed, cancel := s.Subscribe()
	apply(t, s, base)
	apply(t, s, manifest("Vip", "new", "address: 20.0.0.9/32"))
	<-changed
	select {
	case <-changed:
		t.Error("two changes made two wake-ups though nobody received")
	default:
	}
	cancel()
	apply(t, s, manifest("Vip", "newer", "address: 20.0.0.10/32"))
	select {
	case <-changed:
		t.Error("a wake-up after the end of the subscription")
	default:
	}
}

// Readers never see half of a change and never race with writers.
func TestConcurrentReaders(t *testing.T) {
	s := openStore(t, "")
	apply(t, s, base)
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				snapshot := s.Snapshot()
				_, a := snapshot.Get(Key{"Vip", "default", "pair1"})
				_, b := snapshot.Get(Key{"Vip", "default", "pair2"})
				if a != b {
					t.Error("a snapshot has one vip of the pair")
					return
				}
			}
		})
	}
	for range 50 {
		apply(t, s, manifest("Vip", "pair1", "address: 20.0.0.9/32")+"---\n"+manifest("Vip", "pair2", "address: 20.0.0.10/32"))
		s.ReportProgrammed(s.Snapshot(), "a", "lb", nil)
		if _, err := s.Delete([]Key{{"Vip", "default", "pair1"}, {"Vip", "default", "pair2"}}, DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	readers.Wait()
}

func TestConditions(t *testing.T) {
	s := openStore(t, "")
	apply(t, s, base+"---\n"+manifest("Gateway", "bgp", "address: 10.0.0.253\nprotocol: bgp\nbgp: {local-asn: 1, remote-asn: 2}")+
		"---\n"+manifest("Stream", "lost", "max-targets: 1"))
	condition := func(kind, name, conditionType string) string {
		t.Helper()
		c := get[v1alpha1.Object](t, s.Snapshot(), kind, name).GetStatus().Condition(conditionType)
		if c == nil {
			return "absent"
		}
		if c.LastTransitionTime.IsZero() || c.ObservedGeneration == 0 {
			t.Errorf("%s %s: %+v lacks time or generation", kind, name, c)
		}
		return string(c.Status) + " " + c.Reason
	}
	expect := func(kind, name, conditionType, want string) {
		t.Helper()
		if got := condition(kind, name, conditionType); got != want {
			t.Errorf("%s %s: %s = %q, want %q", kind, name, conditionType, got, want)
		}
	}
	expect("Trench", "a", v1alpha1.ConditionAccepted, "True Accepted")
	expect("Trench", "a", v1alpha1.ConditionProgrammed, "absent")
	expect("Flow", "web", v1alpha1.ConditionResolvedRefs, "True ResolvedRefs")
	expect("Flow", "web", v1alpha1.ConditionProgrammed, "Unknown Pending")
	expect("Stream", "lost", v1alpha1.ConditionResolvedRefs, "False ReferenceNotSet")
	expect("Gateway", "bgp", v1alpha1.ConditionProgrammed, "Unknown Pending")

	old := s.Snapshot()
	s.ReportProgrammed(old, "a", "lb", nil)
	for _, k := range []Key{{"Conduit", "", "lb"}, {"Stream", "", "web"}, {"Flow", "", "web"}, {"Vip", "", "v4"}, {"Gateway", "", "gw"}, {"Attractor", "", "att"}} {
		expect(k.Kind, k.Name, v1alpha1.ConditionProgrammed, "True Programmed")
	}
	expect("Vip", "v6", v1alpha1.ConditionProgrammed, "Unknown Pending")
	expect("Stream", "far", v1alpha1.ConditionProgrammed, "Unknown Pending")
	if g := s.Snapshot().Generation; g != old.Generation {
		t.Errorf("conditions moved the generation from %d to %d", old.Generation, g)
	}
	reported := s.Snapshot()
	s.ReportProgrammed(old, "a", "lb", nil)
	if s.Snapshot() != reported {
		t.Error("reporting the same again made a new snapshot")
	}

	// A report about an older state of an object says nothing about the new one.
	apply(t, s, manifest("Stream", "web", "conduit: lb\nmax-targets: 7"))
	expect("Stream", "web", v1alpha1.ConditionProgrammed, "Unknown Pending")
	s.ReportProgrammed(old, "a", "lb", nil)
	expect("Stream", "web", v1alpha1.ConditionProgrammed, "Unknown Pending")
	s.ReportProgrammed(s.Snapshot(), "a", "lb", errors.New("no replica"))
	expect("Stream", "web", v1alpha1.ConditionProgrammed, "False Pending")

	s.SetConditions(Key{"Stream", "default", "web"}, 2, v1alpha1.Condition{Type: v1alpha1.ConditionReady, Status: v1alpha1.ConditionTrue, Reason: "TargetsReady"})
	expect("Stream", "web", v1alpha1.ConditionReady, "True TargetsReady")
	s.SetConditions(Key{"Stream", "default", "web"}, 1, v1alpha1.Condition{Type: v1alpha1.ConditionReady, Status: v1alpha1.ConditionFalse, Reason: "Old"})
	expect("Stream", "web", v1alpha1.ConditionReady, "True TargetsReady")
}
