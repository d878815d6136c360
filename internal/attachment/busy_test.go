// SPDX-License-Identifier: Apache-2.0

package attachment_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-project/weft/internal/attachment"
)

// Who comes when too many wait is refused at once; nothing was begun for it, and
// the others are not held up.
func TestTooManyWait(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		const waiting = 32
		e := w.mesh.add("lb.trench-a", "lb-1", "web")
		hang := make(chan struct{})
		w.mesh.with(e, func(e *fakeEndpoint) { e.hang = hang })
		done := make(chan error, waiting)
		for i := range waiting {
			go func() {
				_, err := w.Attach(t.Context(), numbered(i), time.Minute)
				done <- err
			}()
		}
		synctest.Wait()
		began := time.Now()
		_, err := w.Attach(t.Context(), numbered(waiting), time.Minute)
		if attachment.KindOf(err) != attachment.Exhausted || !strings.Contains(err.Error(), "busy with 32 attachments") || time.Since(began) != 0 {
			t.Errorf("one more after %s: %v", time.Since(began), err)
		}
		if w.node.uses[namespace(1)] != waiting {
			t.Errorf("%d uses of the namespace", w.node.uses[namespace(1)])
		}
		w.mesh.with(e, func(e *fakeEndpoint) { e.hang = nil })
		close(hang)
		for range waiting {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if requests, closes := w.mesh.count(e); requests != waiting || closes != 0 {
			t.Errorf("%d requests, %d closes", requests, closes)
		}
		w.mustAttach(numbered(waiting), time.Minute)
	})
}

func numbered(i int) attachment.Spec {
	s := spec(fmt.Sprint("n", i), "web")
	s.Interface = fmt.Sprint("n", i)
	return s
}

// A request that had no answer may have made the connection, which is closed
// then.
func TestUnansweredRequestIsClosed(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		e := w.mesh.add("lb.trench-a", "lb-1", "web")
		w.mesh.with(e, func(e *fakeEndpoint) { e.hang = make(chan struct{}) })
		if _, err := w.Attach(t.Context(), spec("a", "web"), 30*time.Second); err == nil {
			t.Fatal("attached to an endpoint that does not answer")
		}
		if _, closes := w.mesh.count(e); closes != 1 {
			t.Errorf("%d closes of what may have been made", closes)
		}
		// What was refused was not made.
		w.mesh.with(e, func(e *fakeEndpoint) { e.hang = nil; e.streams = nil })
		if _, err := w.Attach(t.Context(), spec("a", "web"), 30*time.Second); attachment.KindOf(err) != attachment.NotFound {
			t.Errorf("a stream that is not there: %v", err)
		}
		if _, closes := w.mesh.count(e); closes != 1 {
			t.Errorf("%d closes after a refusal", closes)
		}
	})
}
