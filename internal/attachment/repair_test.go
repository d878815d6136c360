// SPDX-License-Identifier: Apache-2.0

package attachment_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-project/weft/internal/attachment"
)

func TestRetryBacksOff(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		e := w.mesh.add("lb.trench-a", "lb-1", "web")
		w.mesh.with(e, func(e *fakeEndpoint) { e.fail = errors.New("connection refused") })
		w.mustAttach(spec("a", "web"), 0)
		time.Sleep(time.Minute)
		// 100, 200, 400 ms and then 600 ms each, all with 20 % jitter.
		requests, _ := w.mesh.count(e)
		if requests < 83 || requests > 125 {
			t.Errorf("%d requests in a minute, want about 102", requests)
		}
		a := w.get("a")
		wantCondition(t, a, attachment.Ready, attachment.False, attachment.ReasonFailed)
		wantCondition(t, a, attachment.Accepted, attachment.Unknown, attachment.ReasonPending)
		leg := a.Status.Legs[0]
		if leg.State != attachment.Retrying || !strings.Contains(leg.LastError, "connection refused") || !leg.RetryAt.After(time.Now()) {
			t.Errorf("leg is %+v", leg)
		}
		if a.Status.LastError != leg.LastError {
			t.Errorf("last error is %q", a.Status.LastError)
		}
		w.mesh.with(e, func(e *fakeEndpoint) { e.fail = nil })
		time.Sleep(time.Second)
		a = w.get("a")
		wantCondition(t, a, attachment.Ready, attachment.True, attachment.ReasonAllLegs)
		if a.Status.LastError != "" {
			t.Errorf("last error is %q", a.Status.LastError)
		}
	})
}

func TestLostLegIsRequestedAtOnceAndFlappingSlowsDown(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		e := w.mesh.add("lb.trench-a", "lb-1", "web")
		before := w.mustAttach(spec("a", "web"), time.Second)
		time.Sleep(time.Minute)
		w.mesh.lose(e, attachment.ErrLost)
		synctest.Wait()
		if requests, _ := w.mesh.count(e); requests != 2 {
			t.Errorf("%d requests, want a second one at once", requests)
		}
		a := w.get("a")
		wantCondition(t, a, attachment.Ready, attachment.True, attachment.ReasonAllLegs)
		if a.Status.Legs[0].ConnectionID != before.Status.Legs[0].ConnectionID {
			t.Error("the connection has another id")
		}
		for range 5 {
			w.mesh.lose(e, attachment.ErrLost)
			synctest.Wait()
			wantCondition(t, w.get("a"), attachment.Programmed, attachment.False, attachment.ReasonNotConnected)
			time.Sleep(20 * time.Millisecond)
			if requests, _ := w.mesh.count(e); requests > 20 {
				t.Fatal("no pause between requests of a flapping leg")
			}
			time.Sleep(5 * time.Second)
			wantCondition(t, w.get("a"), attachment.Programmed, attachment.True, attachment.ReasonConnected)
		}
	})
}

func TestRefreshOnDemandAndInTime(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.mesh.lifetime = time.Minute
		e := w.mesh.add("lb.trench-a", "lb-1", "web")
		w.mustAttach(spec("a", "web"), time.Second)
		w.mesh.lose(e, attachment.ErrRefresh)
		synctest.Wait()
		if requests, _ := w.mesh.count(e); requests != 2 {
			t.Errorf("%d requests, want a second one at once", requests)
		}
		wantCondition(t, w.get("a"), attachment.Ready, attachment.True, attachment.ReasonAllLegs)
		time.Sleep(21 * time.Second)
		if requests, _ := w.mesh.count(e); requests != 3 {
			t.Errorf("%d requests, want a third one after a third of the connection's life", requests)
		}
		// A failing refresh does not make the attachment unready before time.
		w.mesh.with(e, func(e *fakeEndpoint) { e.fail = errors.New("away") })
		time.Sleep(30 * time.Second)
		wantCondition(t, w.get("a"), attachment.Programmed, attachment.True, attachment.ReasonConnected)
	})
}

// TestControlPlaneLostIsNotTrafficLost: what the mesh cannot tell about may
// stand as before, until it would have expired.
func TestControlPlaneLostIsNotTrafficLost(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.mesh.lifetime = 2 * time.Minute
		e := w.mesh.add("lb.trench-a", "lb-1", "web")
		w.mustAttach(spec("a", "web"), time.Second)
		time.Sleep(20 * time.Second)
		w.mesh.with(e, func(e *fakeEndpoint) { e.fail = errors.New("nsmgr is away") })
		w.mesh.lose(e, errors.New("stream broke"))
		time.Sleep(time.Minute)
		a := w.get("a")
		wantCondition(t, a, attachment.Programmed, attachment.True, attachment.ReasonConnected)
		wantCondition(t, a, attachment.Ready, attachment.True, attachment.ReasonAllLegs)
		if message := a.Condition(attachment.Ready).Message; !strings.Contains(message, "nsmgr is away") {
			t.Errorf("message is %q", message)
		}
		time.Sleep(2 * time.Minute)
		a = w.get("a")
		wantCondition(t, a, attachment.Programmed, attachment.False, attachment.ReasonNotConnected)
		wantCondition(t, a, attachment.Ready, attachment.False, attachment.ReasonFailed)
	})
}

func TestCloseIsRepeatedUntilItSucceedsOrTheConnectionExpires(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.mesh.lifetime = time.Hour
		e := w.mesh.add("lb.trench-a", "lb-1", "web")
		w.mustAttach(spec("a", "web"), time.Second)
		w.mesh.with(e, func(e *fakeEndpoint) { e.failClose = errors.New("away") })
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		err := w.Detach(ctx, "a", attachment.Scope{})
		if attachment.KindOf(err) != attachment.Deadline || !strings.Contains(err.Error(), "away") {
			t.Errorf("error is %v", err)
		}
		wantCondition(t, w.get("a"), attachment.Ready, attachment.False, attachment.ReasonDetaching)
		if _, err := w.Attach(t.Context(), spec("a", "web"), 0); attachment.KindOf(err) != attachment.Exists {
			t.Errorf("error is %v", err)
		}
		w.mesh.with(e, func(e *fakeEndpoint) { e.failClose = nil })
		time.Sleep(20 * time.Second)
		if left := w.List(attachment.Filter{}); len(left) != 0 {
			t.Errorf("%v remain", left)
		}

		w.mustAttach(spec("a", "web"), time.Second)
		w.mesh.with(e, func(e *fakeEndpoint) { e.failClose = errors.New("away") })
		if err := w.Detach(t.Context(), "a", attachment.Scope{}); err != nil {
			t.Errorf("detaching did not end with the connection: %v", err)
		}
	})
}

func TestHangingRequestIsGivenUp(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.mesh.add("lb.trench-a", "lb-1", "web")
		w.mesh.hang = make(chan struct{})
		_, err := w.Attach(t.Context(), spec("a", "web"), 12*time.Second)
		if attachment.KindOf(err) != attachment.Deadline || !strings.Contains(err.Error(), "no answer within 10s") {
			t.Errorf("error is %v", err)
		}
		synctest.Wait()
		if left := w.List(attachment.Filter{}); len(left) != 0 {
			t.Errorf("%v remain", left)
		}
	})
}
