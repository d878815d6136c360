// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Every kind has the parts that the generic code relies on.
func TestKinds(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range Kinds() {
		o := k.New()
		if got := *o.GetType(); got != (TypeMeta{APIVersion: APIVersion, Kind: k.Kind}) {
			t.Errorf("%s: New makes %+v", k.Kind, got)
		}
		if name := reflect.TypeOf(o).Elem().Name(); name != k.Kind || seen[k.Kind] {
			t.Errorf("%s: New makes a %s, or the kind is there twice", k.Kind, name)
		}
		seen[k.Kind] = true
		if _, ok := reflect.TypeOf(o).Elem().FieldByName("Spec"); !ok {
			t.Errorf("%s has no Spec", k.Kind)
		}
		for _, spelling := range []string{k.Kind, k.Plural} {
			if got, ok := ParseKind(spelling); !ok || got.Kind != k.Kind {
				t.Errorf("ParseKind(%q) = %s, %v", spelling, got.Kind, ok)
			}
		}
		o.GetMeta().Name = "x"
		o.GetStatus().Conditions = []Condition{{Type: ConditionReady, Status: ConditionTrue, LastTransitionTime: time.Unix(1, 0).UTC()}}
		data, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		again := k.New()
		if err := json.Unmarshal(data, again); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(o, again); diff != "" {
			t.Errorf("%s after a round trip (-before +after):\n%s", k.Kind, diff)
		}
	}
	for _, wrong := range []string{"", "Router", "streamss"} {
		if k, ok := ParseKind(wrong); ok {
			t.Errorf("ParseKind(%q) = %s", wrong, k.Kind)
		}
	}
	if _, ok := LookupKind("stream"); ok {
		t.Error("manifests may write kinds in any case")
	}
}

// A status that nobody has observed does not show.
func TestEmptyStatus(t *testing.T) {
	data, err := json.Marshal(&Vip{Metadata: ObjectMeta{Name: "v"}, Spec: VipSpec{Address: "20.0.0.1/32"}})
	if want := `{"metadata":{"name":"v"},"spec":{"address":"20.0.0.1/32"}}`; err != nil || string(data) != want {
		t.Errorf("%s, %v; want %s", data, err, want)
	}
}

func TestCondition(t *testing.T) {
	s := Status{Conditions: []Condition{{Type: ConditionAccepted}, {Type: ConditionReady, Reason: "x"}}}
	if c := s.Condition(ConditionReady); c == nil || c.Reason != "x" {
		t.Errorf("condition %+v", c)
	}
	if c := s.Condition(ConditionProgrammed); c != nil {
		t.Errorf("condition %+v, want none", c)
	}
}
