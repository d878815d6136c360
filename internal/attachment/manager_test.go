// SPDX-License-Identifier: Apache-2.0

package attachment_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-project/weft/internal/attachment"
)

func TestAttachConnectsToEveryEndpoint(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		one, two := w.mesh.add("lb.trench-a", "lb-1", "web"), w.mesh.add("lb.trench-a", "lb-2", "web")
		a := w.mustAttach(spec("a", "web"), time.Second)
		wantCondition(t, a, attachment.Accepted, attachment.True, attachment.ReasonAccepted)
		wantCondition(t, a, attachment.Programmed, attachment.True, attachment.ReasonConnected)
		wantCondition(t, a, attachment.Ready, attachment.True, attachment.ReasonAllLegs)
		if len(a.Status.Legs) != 2 || a.Status.Legs[0].State != attachment.Up || a.Status.Legs[0].Endpoint != "lb-1" {
			t.Errorf("legs are %+v", a.Status.Legs)
		}
		if a.Status.Legs[0].ConnectionID == a.Status.Legs[1].ConnectionID {
			t.Error("two legs have one connection id")
		}
		want := map[string][]string{"node-1/a": {"web"}}
		for _, e := range []*fakeEndpoint{one, two} {
			if diff := cmp.Diff(want, w.mesh.joined(e)); diff != "" {
				t.Error(diff)
			}
			request := e.requests[0]
			if request.MAC.String() != attachment.MAC("node-1/a").String() || request.Interface != "nsm-1" || request.NetNS != namespace(1) {
				t.Errorf("request is %+v", request)
			}
		}
		// An attachment that stands causes no requests.
		time.Sleep(time.Hour)
		if requests, _ := w.mesh.count(one); requests != 1 {
			t.Errorf("%d requests, want 1", requests)
		}
	})
}

func TestUpdateInPlace(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		e := w.mesh.add("lb.trench-a", "lb-1", "web", "dns")
		before := w.mustAttach(spec("a", "web"), time.Second)
		after, err := w.Update(t.Context(), "a", attachment.Scope{}, attachment.Change{Join: []string{"dns"}}, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if after.Generation != 2 || after.Status.ObservedGeneration != 2 {
			t.Errorf("generation %d, observed %d; want 2", after.Generation, after.Status.ObservedGeneration)
		}
		if before.Status.Legs[0].ConnectionID != after.Status.Legs[0].ConnectionID {
			t.Error("the connection was replaced")
		}
		if diff := cmp.Diff(map[string][]string{"node-1/a": {"dns", "web"}}, w.mesh.joined(e)); diff != "" {
			t.Error(diff)
		}
		if _, err := w.Update(t.Context(), "a", attachment.Scope{}, attachment.Change{Leave: []string{"web"}}, time.Second); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string][]string{"node-1/a": {"dns"}}, w.mesh.joined(e)); diff != "" {
			t.Error(diff)
		}
		same, err := w.Update(t.Context(), "a", attachment.Scope{}, attachment.Change{Streams: []string{"dns"}}, time.Second)
		if err != nil || same.Generation != 3 {
			t.Errorf("the same streams made generation %d, %v; want 3", same.Generation, err)
		}
		if _, closes := w.mesh.count(e); closes != 0 {
			t.Errorf("%d closes", closes)
		}
	})
}

func TestEndpointsComeAndGo(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.mustAttach(spec("a", "web"), 0)
		synctest.Wait()
		a := w.get("a")
		wantCondition(t, a, attachment.Ready, attachment.False, attachment.ReasonNoEndpoint)
		wantCondition(t, a, attachment.Accepted, attachment.Unknown, attachment.ReasonNoEndpoint)

		one := w.mesh.add("lb.trench-a", "lb-1", "web")
		synctest.Wait()
		wantCondition(t, w.get("a"), attachment.Ready, attachment.True, attachment.ReasonAllLegs)

		two := w.mesh.add("lb.trench-a", "lb-2", "web")
		synctest.Wait()
		if legs := w.get("a").Status.Legs; len(legs) != 2 {
			t.Errorf("legs are %+v", legs)
		}
		w.mesh.remove("lb.trench-a", "lb-1")
		synctest.Wait()
		a = w.get("a")
		if len(a.Status.Legs) != 1 || a.Status.Legs[0].Endpoint != "lb-2" {
			t.Errorf("legs are %+v", a.Status.Legs)
		}
		wantCondition(t, a, attachment.Ready, attachment.True, attachment.ReasonAllLegs)
		for _, e := range []*fakeEndpoint{one, two} {
			if requests, _ := w.mesh.count(e); requests != 1 {
				t.Errorf("%d requests, want 1", requests)
			}
		}
	})
}

func TestDetachClosesEveryLeg(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		one, two := w.mesh.add("lb.trench-a", "lb-1", "web"), w.mesh.add("lb.trench-a", "lb-2", "web")
		w.mustAttach(spec("a", "web"), time.Second)
		if err := w.Detach(t.Context(), "a", attachment.Scope{}); err != nil {
			t.Fatal(err)
		}
		for _, e := range []*fakeEndpoint{one, two} {
			if n := len(w.mesh.joined(e)); n != 0 {
				t.Errorf("%d connections remain", n)
			}
		}
		if left := w.List(attachment.Filter{}); len(left) != 0 {
			t.Errorf("%v remain", left)
		}
		if len(w.node.uses) != 0 {
			t.Errorf("namespaces are still watched: %v", w.node.uses)
		}
		if len(w.mesh.watchers) != 0 {
			t.Errorf("%d watches of endpoints remain", len(w.mesh.watchers))
		}
		records, err := w.options.Store.Load()
		if err != nil || len(records) != 0 {
			t.Errorf("stored are %v, %v", records, err)
		}
		w.mustAttach(spec("a", "web"), time.Second)
	})
}

func TestRefusedAttachChangesNothing(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		e := w.mesh.add("lb.trench-a", "lb-1", "web")
		_, err := w.Attach(t.Context(), spec("a", "web", "nope"), time.Minute)
		if attachment.KindOf(err) != attachment.NotFound || !strings.Contains(err.Error(), `streams: "nope"`) {
			t.Errorf("error is %v", err)
		}
		if left := w.List(attachment.Filter{}); len(left) != 0 {
			t.Errorf("%v remain", left)
		}
		if n := len(w.mesh.joined(e)); n != 0 {
			t.Errorf("%d connections remain", n)
		}
		// Not even for a moment may a part of it be joined.
		for _, request := range e.requests {
			if len(request.Streams) != 2 {
				t.Errorf("only %v requested", request.Streams)
			}
		}
	})
}

// An endpoint may be about to learn of a stream that was configured just before.
func TestAttachWaitsForAnUnknownStream(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		e := w.mesh.add("lb.trench-a", "lb-1", "web")
		w.mesh.add("lb.trench-a", "lb-2", "web", "new")
		time.AfterFunc(time.Second, func() {
			w.mesh.with(e, func(e *fakeEndpoint) { e.streams = append(e.streams, "new") })
		})
		began := time.Now()
		a := w.mustAttach(spec("a", "new"), time.Minute)
		wantCondition(t, a, attachment.Ready, attachment.True, attachment.ReasonAllLegs)
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("took %v", took)
		}
		// One that stays unknown is refused long before the wait is over.
		began = time.Now()
		other := spec("b", "nope")
		other.Interface = "nsm-2"
		if _, err := w.Attach(t.Context(), other, time.Minute); attachment.KindOf(err) != attachment.NotFound {
			t.Errorf("error is %v", err)
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("refused after %v", took)
		}
	})
}

func TestUnknownServiceIsNotFound(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		began := time.Now()
		_, err := w.Attach(t.Context(), spec("a", "web"), 3*time.Second)
		if attachment.KindOf(err) != attachment.NotFound || !strings.Contains(err.Error(), "network_service") {
			t.Errorf("error is %v", err)
		}
		if waited := time.Since(began); waited != 3*time.Second {
			t.Errorf("waited %v", waited)
		}
		if left := w.List(attachment.Filter{}); len(left) != 0 {
			t.Errorf("%v remain", left)
		}
	})
}

func TestRefusedUpdateIsTakenBack(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		e := w.mesh.add("lb.trench-a", "lb-1", "web")
		w.mustAttach(spec("a", "web"), time.Second)
		_, err := w.Update(t.Context(), "a", attachment.Scope{}, attachment.Change{Streams: []string{"nope"}}, time.Minute)
		if attachment.KindOf(err) != attachment.NotFound {
			t.Errorf("error is %v", err)
		}
		synctest.Wait()
		a := w.get("a")
		if diff := cmp.Diff([]string{"web"}, a.Spec.Streams); diff != "" {
			t.Error(diff)
		}
		wantCondition(t, a, attachment.Ready, attachment.True, attachment.ReasonAllLegs)
		if diff := cmp.Diff(map[string][]string{"node-1/a": {"web"}}, w.mesh.joined(e)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestOneWrongStreamDoesNotSpoilTheOthers(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		e := w.mesh.add("lb.trench-a", "lb-1", "web", "dns")
		w.mustAttach(spec("a", "web", "nope", "dns"), 0)
		synctest.Wait()
		a := w.get("a")
		wantCondition(t, a, attachment.Accepted, attachment.False, attachment.ReasonRefused)
		wantCondition(t, a, attachment.Programmed, attachment.True, attachment.ReasonConnected)
		wantCondition(t, a, attachment.Ready, attachment.False, attachment.ReasonRefused)
		if diff := cmp.Diff(map[string][]string{"node-1/a": {"dns", "web"}}, w.mesh.joined(e)); diff != "" {
			t.Error(diff)
		}
		var states []attachment.StreamState
		for _, stream := range a.Status.Streams {
			states = append(states, stream.State)
		}
		if diff := cmp.Diff([]attachment.StreamState{attachment.StreamJoined, attachment.StreamRefused, attachment.StreamJoined}, states); diff != "" {
			t.Error(diff)
		}
		// The stream appears, and the attachment becomes whole by itself.
		w.mesh.with(e, func(e *fakeEndpoint) { e.streams = append(e.streams, "nope") })
		time.Sleep(20 * time.Second)
		wantCondition(t, w.get("a"), attachment.Ready, attachment.True, attachment.ReasonAllLegs)
	})
}

func TestRefusalOfChangeLeavesStandingConnectionConfirmed(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		e := w.mesh.add("lb.trench-a", "lb-1", "web")
		w.mustAttach(spec("a", "web"), time.Second)
		if _, err := w.Update(t.Context(), "a", attachment.Scope{}, attachment.Change{Join: []string{"nope"}}, 0); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		w.mesh.mu.Lock()
		last := e.requests[len(e.requests)-1].Streams
		w.mesh.mu.Unlock()
		if diff := cmp.Diff([]string{"web"}, last); diff != "" {
			t.Errorf("the last request was not for what stands: %s", diff)
		}
	})
}

func TestDeadNamespaceRemovesItsAttachments(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		e := w.mesh.add("lb.trench-a", "lb-1", "web")
		w.mustAttach(spec("a", "web"), time.Second)
		other := spec("b", "web")
		other.NetNS = namespace(2)
		w.mustAttach(other, time.Second)
		w.NamespaceGone(namespace(1))
		synctest.Wait()
		if left := w.List(attachment.Filter{}); len(left) != 1 || left[0].Spec.Name != "b" {
			t.Errorf("%v remain", left)
		}
		if diff := cmp.Diff(map[string][]string{"node-1/b": {"web"}}, w.mesh.joined(e)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestScopeHidesOthers(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.mesh.add("lb.trench-a", "lb-1", "web")
		w.mustAttach(spec("a", "web"), time.Second)
		stranger := namespace(2)
		scope := attachment.Scope{NetNS: &stranger}
		if found := w.List(attachment.Filter{Scope: scope}); len(found) != 0 {
			t.Errorf("a stranger sees %v", found)
		}
		if err := w.Detach(t.Context(), "a", scope); attachment.KindOf(err) != attachment.NotFound {
			t.Errorf("a stranger's detach: %v", err)
		}
		if _, err := w.Update(t.Context(), "a", scope, attachment.Change{Join: []string{"x"}}, 0); attachment.KindOf(err) != attachment.NotFound {
			t.Errorf("a stranger's update: %v", err)
		}
	})
}

func TestSubscription(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.mesh.add("lb.trench-a", "lb-1", "web")
		w.mustAttach(spec("a", "web"), time.Second)
		now, changes := w.Subscribe(attachment.Filter{NetworkService: "lb.trench-a"})
		defer changes.Close()
		if len(now) != 1 {
			t.Fatalf("snapshot is %v", now)
		}
		if err := w.Detach(t.Context(), "a", attachment.Scope{}); err != nil {
			t.Fatal(err)
		}
		var events []attachment.Event
		for len(events) == 0 || !events[len(events)-1].Removed {
			next, err := changes.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			events = append(events, next...)
		}
		if len(events) > 3 {
			t.Errorf("%d events for one attachment and a slow reader", len(events))
		}
		done := make(chan error)
		go func() {
			_, err := changes.Next(context.Background())
			done <- err
		}()
		synctest.Wait()
		w.Stop()
		if err := <-done; attachment.KindOf(err) != attachment.Unavailable {
			t.Errorf("at the manager's end: %v", err)
		}
	})
}

func TestNamesAndInterfacesAreChosen(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.mesh.add("lb.trench-a", "lb-1", "web")
		w.node.interfaces["1/nsm-2"] = true
		wanted := attachment.Spec{NetworkService: "lb.trench-a", NetNS: namespace(1)}
		var interfaces []string
		for range 2 {
			a := w.mustAttach(wanted, time.Second)
			interfaces = append(interfaces, a.Spec.Interface)
			if !strings.HasPrefix(a.Spec.Name, a.Spec.Interface+"-") {
				t.Errorf("name %q of interface %q", a.Spec.Name, a.Spec.Interface)
			}
		}
		if !slices.Equal(interfaces, []string{"nsm-1", "nsm-3"}) {
			t.Errorf("interfaces are %v", interfaces)
		}
	})
}
