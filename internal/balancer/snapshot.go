// SPDX-License-Identifier: Apache-2.0

package balancer

import (
	"net"
	"slices"
	"strings"

	"github.com/weft-project/weft/pkg/dataplane/lb"
)

// Snapshot is the state of a replica at one moment.
type Snapshot struct {
	Streams []StreamState // sorted by name
	Targets []TargetState // sorted by name
	Flows   []FlowState   // sorted by name; shared by snapshots, not to be written to
	// Gateways are where replies leave to.
	Gateways lb.Gateways
	// Leaving has the interfaces whose legs are registered no more, but which
	// are there still and take answers; sorted.
	Leaving []string
	// Shadow says that a predecessor still works in the place of this replica.
	Shadow bool
}

// StreamState is the state of a configured stream.
type StreamState struct {
	Name       string
	ID         uint32 // its number in the data plane
	TableSize  uint32
	MaxTargets int
	Targets    []string // in the table in force, sorted
	Slots      []int    // of each of Targets
	Pending    bool     // a newer table is being built
	Error      string   // why the last table could not be put in force
}

// FlowState is a flow in force.
type FlowState struct {
	Name   string
	ID     uint32 // of its counters in the data plane
	Stream string
}

// TargetState is the state of a registered target, or of one that has gone but
// is in a table still.
type TargetState struct {
	Name   string
	ID     uint16
	Weight uint16
	// Draining targets, and those of weight 0, are in no table.
	Draining bool
	Placed   bool     // the data plane knows where it is
	Streams  []string // wanted, sorted
	Held     []string // of Streams; the workload is not ready for their traffic yet
	InTable  []string // streams that send it traffic, sorted
	Legs     []LegState
}

// LegState is the state of one leg of a target.
type LegState struct {
	Connection  string
	Interface   string
	IfIndex     int // 0 when the link is not there
	MAC, LegMAC net.HardwareAddr
	Attached    bool   // the reply program is on it
	Up          bool   // attached and carrier
	Active      bool   // the one that the target's traffic takes
	Error       string // why it could not be brought up
}

// Stream returns the state of the named stream, zero when there is none.
func (s Snapshot) Stream(name string) StreamState {
	for _, stream := range s.Streams {
		if stream.Name == name {
			return stream
		}
	}
	return StreamState{}
}

// Target returns the state of the named target, zero when there is none.
func (s Snapshot) Target(name string) TargetState {
	for _, target := range s.Targets {
		if target.Name == name {
			return target
		}
	}
	return TargetState{}
}

// Snapshot returns the state of now.
func (b *Balancer) Snapshot() Snapshot {
	gateways := b.dp.Gateways()
	b.mu.Lock()
	defer b.mu.Unlock()
	snapshot := Snapshot{Flows: b.flowStates, Gateways: gateways, Shadow: b.succession != nil}
	for _, s := range b.streams {
		state := StreamState{
			Name: s.name, ID: s.id, TableSize: s.size, MaxTargets: s.maxTargets,
			Pending: s.want != s.done, Error: text(s.err),
		}
		for name := range s.table {
			state.Targets = append(state.Targets, name)
		}
		slices.Sort(state.Targets)
		for _, name := range state.Targets {
			state.Slots = append(state.Slots, s.table[name].slots)
		}
		snapshot.Streams = append(snapshot.Streams, state)
	}
	legs := map[int]bool{}
	for _, l := range b.legs {
		legs[l.index] = true
	}
	for index, a := range b.programs {
		if !legs[index] {
			snapshot.Leaving = append(snapshot.Leaving, a.iface)
		}
	}
	slices.Sort(snapshot.Leaving)
	for _, t := range b.targets {
		state := TargetState{
			Name: t.name, ID: t.id, Weight: t.weight, Draining: t.drains, Placed: t.isSet,
			Streams: slices.Clone(t.streams), Held: slices.Clone(t.held),
		}
		for s := range t.tables {
			state.InTable = append(state.InTable, s.name)
		}
		slices.Sort(state.InTable)
		active := t.leg()
		for _, l := range t.legs {
			state.Legs = append(state.Legs, LegState{
				Connection: l.connection, Interface: l.iface, IfIndex: l.index, MAC: l.mac, LegMAC: l.legMAC,
				Attached: b.programs[l.index].program != nil, Up: l.up, Active: l == active, Error: text(l.err),
			})
		}
		snapshot.Targets = append(snapshot.Targets, state)
	}
	slices.SortFunc(snapshot.Streams, func(a, b StreamState) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(snapshot.Targets, func(a, b TargetState) int { return strings.Compare(a.Name, b.Name) })
	return snapshot
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
