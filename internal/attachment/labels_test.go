// SPDX-License-Identifier: Apache-2.0

package attachment_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-project/weft/internal/attachment"
)

// TestLabelsInPlace: labels are set and removed one by one or replaced, and the
// connection that stands is requested with them.
func TestLabelsInPlace(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		e := w.mesh.add("lb.trench-a", "lb-1", "web")
		before := w.mustAttach(spec("a", "web"), time.Second)
		steps := []struct {
			change attachment.Change
			want   map[string]string
		}{
			{attachment.Change{SetLabels: map[string]string{"weight": "3", "app": "x"}}, map[string]string{"weight": "3", "app": "x"}},
			{attachment.Change{SetLabels: map[string]string{"drain": "true"}}, map[string]string{"weight": "3", "app": "x", "drain": "true"}},
			{attachment.Change{SetLabels: map[string]string{"weight": "0"}, UnsetLabels: []string{"drain", "none"}}, map[string]string{"weight": "0", "app": "x"}},
			{attachment.Change{Labels: map[string]string{"weight": "5"}, SetLabels: map[string]string{"a": "b"}}, map[string]string{"weight": "5", "a": "b"}},
		}
		for i, step := range steps {
			after, err := w.Update(t.Context(), "a", attachment.Scope{}, step.change, time.Second)
			if err != nil {
				t.Fatal(err)
			}
			last := e.requests[len(e.requests)-1]
			if diff := cmp.Diff(step.want, after.Spec.Labels) + cmp.Diff(step.want, last.Labels); diff != "" {
				t.Errorf("step %d: %s", i, diff)
			}
			if last.Connection.ID != before.Status.Legs[0].ConnectionID || len(e.requests) != i+2 {
				t.Errorf("step %d: %d requests, the last of connection %s", i, len(e.requests), last.Connection.ID)
			}
		}
		for field, change := range map[string]attachment.Change{
			"labels[weight]": {SetLabels: map[string]string{"weight": "-1"}},
			"labels[drain]":  {Labels: map[string]string{"drain": ""}},
		} {
			_, err := w.Update(t.Context(), "a", attachment.Scope{}, change, time.Second)
			var reason *attachment.Error
			if !errors.As(err, &reason) || reason.Kind != attachment.Invalid || reason.Field != field {
				t.Errorf("%s: error is %v", field, err)
			}
		}
		if diff := cmp.Diff(steps[len(steps)-1].want, w.get("a").Spec.Labels); diff != "" {
			t.Errorf("bad labels changed something: %s", diff)
		}
	})
}
