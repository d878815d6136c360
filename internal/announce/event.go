// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"log/slog"
	"net/netip"
)

// Event is a decision that is news, with what a Kubernetes Event needs: whom it
// concerns, a reason in one word and a message.
type Event struct {
	Replica, Trench, Conduit string
	VIP                      netip.Prefix
	Announced                bool // else a Kubernetes Event would be a warning
	Reason                   Reason
	Message                  string
}

// Recorder is told about events, one at a time. It must not block: the next
// decision waits.
type Recorder interface {
	Record(Event)
}

// LogRecorder writes events to a log.
type LogRecorder struct{ Log *slog.Logger }

// Record implements Recorder.
func (r LogRecorder) Record(e Event) {
	r.Log.Info("announcement", "replica", e.Replica, "trench", e.Trench, "conduit", e.Conduit, "vip", e.VIP,
		"announced", e.Announced, "reason", e.Reason, "message", e.Message)
}
