// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weft-project/weft/pkg/dataplane/lb"
)

// Statistics are the counters of a replica, each list sorted by name.
type Statistics struct {
	Reasons                 []ReasonCount
	Flows, Streams, Targets []Traffic
	SlowPath                lb.SlowPathCounters
}

// ReasonCount is how many packets had a reason.
type ReasonCount struct {
	Reason  string
	Packets uint64
	Drop    bool
}

// Traffic is what belonged to a flow, stream or target since it was set.
type Traffic struct {
	Name   string
	Stream string // of a flow
	lb.Traffic
}

// Statistics reads the counters.
func (r Replica) Statistics() (Statistics, error) {
	reasons, err := r.Plane.Counters()
	if err != nil {
		return Statistics{}, fmt.Errorf("read counters of replica %s: %w", r.Name, err)
	}
	s := Statistics{SlowPath: r.Plane.SlowPath()}
	for reason, n := range reasons {
		s.Reasons = append(s.Reasons, ReasonCount{Reason: reason.String(), Packets: n, Drop: reason.Drop()})
	}
	slices.SortFunc(s.Reasons, func(a, b ReasonCount) int { return strings.Compare(a.Reason, b.Reason) })
	snapshot := r.State.Snapshot()
	read := func(list *[]Traffic, what, name, stream string, traffic lb.Traffic, readErr error) {
		if readErr != nil && err == nil {
			err = fmt.Errorf("read traffic of %s %s of replica %s: %w", what, name, r.Name, readErr)
		}
		*list = append(*list, Traffic{Name: name, Stream: stream, Traffic: traffic})
	}
	for _, f := range snapshot.Flows {
		traffic, readErr := r.Plane.FlowTraffic(f.ID)
		read(&s.Flows, "flow", f.Name, f.Stream, traffic, readErr)
	}
	for _, f := range snapshot.Streams {
		traffic, readErr := r.Plane.StreamTraffic(f.ID)
		read(&s.Streams, "stream", f.Name, "", traffic, readErr)
	}
	for _, t := range snapshot.Targets {
		traffic, readErr := r.Plane.TargetTraffic(t.ID)
		read(&s.Targets, "target", t.Name, "", traffic, readErr)
	}
	return s, err
}
