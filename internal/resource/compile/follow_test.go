// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-project/weft/internal/balancer"
	"github.com/weft-project/weft/internal/resource"
	"github.com/weft-project/weft/pkg/apis/v1alpha1"
)

// replica records the configurations it is given.
type replica struct {
	configs []balancer.Config
	at      []time.Time
	fail    int // so many calls fail
}

func (r *replica) set(_ context.Context, c balancer.Config) error {
	r.at = append(r.at, time.Now())
	if r.fail > 0 {
		r.fail--
		return errors.New("no replica answers")
	}
	r.configs = append(r.configs, c)
	return nil
}

// following runs Follow in a bubble of synctest.
func following(t *testing.T, store *resource.Store, r *replica) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	report := func(s *resource.Snapshot, err error) { store.ReportProgrammed(s, "trench-a", "lb", err) }
	go func() { done <- Follow(ctx, store, "trench-a", "lb", r.set, report) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Follow returned %v", err)
		}
	})
	synctest.Wait()
}

func programmed(t *testing.T, store *resource.Store, namespace string) string {
	t.Helper()
	o, ok := store.Snapshot().Get(resource.Key{Kind: "Stream", Namespace: namespace, Name: "web"})
	if !ok {
		t.Fatalf("no stream web in %s", namespace)
	}
	c := o.GetStatus().Condition(v1alpha1.ConditionProgrammed)
	return strings.TrimSpace(string(c.Status) + " " + c.Message)
}

func TestFollow(t *testing.T) {
	demo := load(t, "../../../deployments/examples/demo.yaml")
	synctest.Test(t, func(t *testing.T) {
		store, err := resource.Open("")
		if err != nil {
			t.Fatal(err)
		}
		r := &replica{}
		following(t, store, r)
		expect := func(what string, calls, streams int) {
			t.Helper()
			synctest.Wait()
			if len(r.configs) != calls {
				t.Fatalf("%s: %d configurations, want %d", what, len(r.configs), calls)
			}
			if n := len(r.configs[calls-1].Streams); n != streams {
				t.Errorf("%s: %d streams, want %d", what, n, streams)
			}
		}
		change := func(old, new string) {
			t.Helper()
			yaml := strings.Replace(string(demo.Data), old, new, 1)
			if _, err := store.Apply([]resource.File{{Name: "f", Data: []byte(yaml)}}, resource.ApplyOptions{Prune: true}); err != nil {
				t.Fatal(err)
			}
		}
		expect("before there is a conduit", 1, 0)
		change("", "")
		expect("after the first apply", 2, 2)
		if got := programmed(t, store, "trench-a"); got != "True" {
			t.Errorf("Programmed = %s", got)
		}
		if got := programmed(t, store, "trench-b"); got != "Unknown no load balancer has reported yet" {
			t.Errorf("Programmed in the other trench = %s", got)
		}
		change("", "")
		expect("after the same again", 2, 2)
		change("max-targets: 100", "max-targets: 5")
		expect("after a change", 3, 2)
		change("fd02::fe", "fd02::fd")
		expect("after a change of this trench and one of the other", 4, 2)
		change("fd02::fe", "fd02::fc")
		expect("after a change of the other trench", 4, 2)

		keys := []resource.Key{}
		for _, o := range store.Snapshot().List("") {
			keys = append(keys, resource.KeyOf(o))
		}
		if _, err := store.Delete(keys, resource.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		expect("after the trench is gone", 5, 0)
		change("", "")
		expect("after it is back", 6, 2)
	})
}

func TestFollowRetries(t *testing.T) {
	demo := load(t, "../../../deployments/examples/demo.yaml")
	synctest.Test(t, func(t *testing.T) {
		store, err := resource.Open("")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := store.Apply([]resource.File{demo}, resource.ApplyOptions{}); err != nil {
			t.Fatal(err)
		}
		r := &replica{fail: 8}
		start := time.Now()
		following(t, store, r)
		if got := programmed(t, store, "trench-a"); got != "False no replica answers" {
			t.Errorf("Programmed after a failure = %s", got)
		}
		time.Sleep(time.Minute) // of the bubble
		synctest.Wait()
		want := []time.Duration{0, 100, 300, 700, 1500, 3100, 6300, 11300, 16300}
		if len(r.at) != len(want) {
			t.Fatalf("%d calls, want %d", len(r.at), len(want))
		}
		for i, at := range r.at {
			if got := at.Sub(start); got != want[i]*time.Millisecond {
				t.Errorf("call %d after %s, want %s", i, got, want[i]*time.Millisecond)
			}
		}
		if len(r.configs) != 1 || programmed(t, store, "trench-a") != "True" {
			t.Errorf("%d configurations in force, Programmed = %s", len(r.configs), programmed(t, store, "trench-a"))
		}
	})
}
