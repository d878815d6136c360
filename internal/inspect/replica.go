// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"context"
	"net"

	"github.com/weft-project/weft/internal/balancer"
	"github.com/weft-project/weft/pkg/dataplane/lb"
)

// Tracer runs the program on frames. Nothing is sent, counted or remembered.
type Tracer interface {
	// Trace returns what is decided about a frame from outside, and the frame
	// as it would leave.
	Trace(frame []byte) (lb.Verdict, []byte, error)
	// TraceReply does so for a frame from a leg.
	TraceReply(frame []byte) (lb.Verdict, []byte, error)
}

// Observer reports decisions as they are made.
type Observer interface {
	// Observe calls fn, never twice at once, until ctx ends.
	Observe(ctx context.Context, filter lb.Filter, fn func(lb.Event)) error
}

// Counters is what was counted, by the numbers of the data plane.
type Counters interface {
	Counters() (map[lb.Reason]uint64, error)
	FlowTraffic(flow uint32) (lb.Traffic, error)
	StreamTraffic(stream uint32) (lb.Traffic, error)
	TargetTraffic(id uint16) (lb.Traffic, error)
}

// SlowPath is what user space did for the program.
type SlowPath interface {
	SlowPath() lb.SlowPathCounters
}

// Plane is all that is asked of a replica's data plane; *lb.LB is one.
type Plane interface {
	Tracer
	Observer
	Counters
	SlowPath
}

// State is the configuration and state of a replica; *balancer.Balancer is one.
type State interface {
	Config() *balancer.Config
	Snapshot() balancer.Snapshot
}

// Replica is a load balancer that can be inspected.
type Replica struct {
	Name, Trench, Conduit string
	NetNS                 string // path of its namespace, "" is the process's own
	Interface             string // the external one
	VLAN                  uint16 // of Interface; 0: untagged
	Mode                  string // how the program is attached: "tcx" or "xdp"
	MAC                   net.HardwareAddr
	Plane                 Plane
	State                 State
}

// names resolves the numbers of the data plane.
type names struct {
	flows   map[uint32]balancer.FlowState
	streams map[uint32]balancer.StreamState
	targets map[uint16]balancer.TargetState
}

func newNames(s balancer.Snapshot) names {
	n := names{
		flows:   make(map[uint32]balancer.FlowState, len(s.Flows)),
		streams: make(map[uint32]balancer.StreamState, len(s.Streams)),
		targets: make(map[uint16]balancer.TargetState, len(s.Targets)),
	}
	for _, f := range s.Flows {
		n.flows[f.ID] = f
	}
	for _, s := range s.Streams {
		n.streams[s.ID] = s
	}
	for _, t := range s.Targets {
		n.targets[t.ID] = t
	}
	return n
}

// activeLeg returns the leg that the traffic of a target takes.
func activeLeg(t balancer.TargetState) balancer.LegState {
	for _, l := range t.Legs {
		if l.Active {
			return l
		}
	}
	return balancer.LegState{}
}
