// SPDX-License-Identifier: Apache-2.0

package inspect_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/weft-project/weft/internal/inspect"
	"github.com/weft-project/weft/internal/inspect/inspecttest"
	"github.com/weft-project/weft/internal/slowpath"
	"github.com/weft-project/weft/pkg/dataplane/lb"
)

func TestObserveNamesEvents(t *testing.T) {
	defer goleak.VerifyNone(t)
	plane := &inspecttest.Plane{Events: []lb.Event{
		{Reason: lb.Forwarded, Flow: 10, Stream: 2, Target: 7},
		{Reason: lb.DropNoTarget, Flow: 13, Stream: 1, Target: 7},
		{Reason: lb.DropNoTarget, Stream: 1},
		{Reason: lb.DropNoFlow, Flow: 10, Stream: 2, Target: 7},
		{Reason: lb.ReplyForwarded, Reply: true, Flow: 10, Stream: 2, Target: 7},
		{Reason: lb.Forwarded, Flow: 99, Stream: 99, Target: 99},
	}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got []string
	filter := lb.Filter{Port: 80, Rate: 5}
	err := inspect.Observe(ctx, []inspect.Replica{inspecttest.New("lb-1", plane)}, filter, func(e inspect.Event) error {
		if got = append(got, e.Replica+" "+e.Flow+" "+e.Stream+" "+e.Target); len(got) == len(plane.Events) {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
	want := []string{"lb-1 web web n1/a", "lb-1 sctp voice ", "lb-1  voice ", "lb-1   ", "lb-1   ", "lb-1   "}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if f := plane.Filters(); len(f) != 1 || f[0].Port != 80 || f[0].Rate != 5 {
		t.Errorf("filters %+v", f)
	}
}

// A reader that cannot keep up loses events, is told so, and holds nobody up.
func TestObserveDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plane := &inspecttest.Plane{Events: slices.Repeat([]lb.Event{{Reason: lb.DropNoFlow}}, 5000)}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		n, lost := 0, uint64(0)
		err := inspect.Observe(ctx, []inspect.Replica{inspecttest.New("lb-1", plane)}, lb.Filter{}, func(e inspect.Event) error {
			if n++; n == 1 {
				<-time.After(time.Second) // until the plane has reported all
			}
			lost = e.Lost
			return nil
		})
		if !errors.Is(err, context.DeadlineExceeded) || n+int(lost) != 5000 || lost == 0 {
			t.Errorf("%d shown, %d lost, %v", n, lost, err)
		}
	})
}

func TestObserveFails(t *testing.T) {
	defer goleak.VerifyNone(t)
	broken := errors.New("broken")
	good, bad := inspecttest.New("lb-1", &inspecttest.Plane{}), inspecttest.New("lb-2", &inspecttest.Plane{Err: broken})
	if err := inspect.Observe(t.Context(), []inspect.Replica{good, bad}, lb.Filter{}, nil); !errors.Is(err, broken) {
		t.Errorf("a failing replica: %v", err)
	}
	good.Plane = &inspecttest.Plane{Events: []lb.Event{{Reason: lb.Forwarded}}}
	if err := inspect.Observe(t.Context(), []inspect.Replica{good}, lb.Filter{}, func(inspect.Event) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("a failing reader: %v", err)
	}
}

func TestStatistics(t *testing.T) {
	plane := &inspecttest.Plane{
		Reasons: map[lb.Reason]uint64{lb.Forwarded: 5, lb.DropNoFlow: 2},
		Traffic: map[uint32]lb.Traffic{10: {Packets: 5, Bytes: 500}, 1002: {Packets: 6, Bytes: 600}, 2007: {Packets: 7, Bytes: 700}},
		Slow:    lb.SlowPathCounters{Counters: slowpath.Counters{Cut: 1}},
	}
	got, err := inspecttest.New("lb-1", plane).Statistics()
	if err != nil {
		t.Fatal(err)
	}
	want := inspect.Statistics{
		Reasons: []inspect.ReasonCount{{Reason: "forwarded", Packets: 5}, {Reason: "no_flow", Packets: 2, Drop: true}},
		Flows: []inspect.Traffic{
			{Name: "admin", Stream: "web"}, {Name: "get", Stream: "api"}, {Name: "sctp", Stream: "voice"},
			{Name: "web", Stream: "web", Traffic: lb.Traffic{Packets: 5, Bytes: 500}},
		},
		Streams:  []inspect.Traffic{{Name: "api"}, {Name: "voice"}, {Name: "web", Traffic: lb.Traffic{Packets: 6, Bytes: 600}}},
		Targets:  []inspect.Traffic{{Name: "n1/a", Traffic: lb.Traffic{Packets: 7, Bytes: 700}}},
		SlowPath: lb.SlowPathCounters{Counters: slowpath.Counters{Cut: 1}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
