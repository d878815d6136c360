// SPDX-License-Identifier: Apache-2.0

package announce_test

import (
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/weft-project/weft/internal/announce"
)

func TestLogRecorder(t *testing.T) {
	var text strings.Builder
	log := slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	var recorder announce.Recorder = announce.LogRecorder{Log: log}
	recorder.Record(announce.Event{
		Replica: "lb-1", Trench: "trench-a", Conduit: "lb", VIP: netip.MustParsePrefix("20.0.0.1/32"),
		Reason: announce.NoTarget, Message: "stream web has no target",
	})
	const want = `level=INFO msg=announcement replica=lb-1 trench=trench-a conduit=lb vip=20.0.0.1/32 announced=false reason=NoTarget message="stream web has no target"` + "\n"
	if text.String() != want {
		t.Errorf("%s; want %s", text.String(), want)
	}
}
