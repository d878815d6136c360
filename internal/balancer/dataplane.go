// SPDX-License-Identifier: Apache-2.0

package balancer

import (
	"context"
	"io"

	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/pkg/dataplane/lb"
)

// Tables is where the balancer writes what packets are matched against.
// Streams are numbers from 0 up, targets numbers from 1 up. Each call takes
// effect as a whole or not at all.
type Tables interface {
	SetRules(lb.Rules) error
	// SetGateways says where replies leave to, Gateways what is in force.
	SetGateways(lb.Gateways) error
	Gateways() lb.Gateways
	SetTable(stream uint32, slots []uint16) error
	ClearTable(stream uint32) error
	// SetMembers says which targets a stream's flows may stay with when its
	// table changes.
	SetMembers(stream uint32, targets []uint16) error
	// ForgetStream and ForgetFlow clear the counters of a number that is to
	// stand for another stream or flow.
	ForgetStream(stream uint32) error
	ForgetFlow(flow uint32) error
}

// Targets is where the balancer writes where targets are.
type Targets interface {
	SetTarget(id uint16, target lb.Target) error
	DeleteTarget(id uint16) error
	// AttachLeg puts the reply program on a link until it is closed. It is
	// called for several links at once.
	AttachLeg(ifindex int) (io.Closer, error)
}

// Statistics is where the balancer reads what happened to packets. Traffic is
// what was counted since the flow, stream or target was set.
type Statistics interface {
	Counters() (map[lb.Reason]uint64, error)
	FlowTraffic(flow uint32) (lb.Traffic, error)
	StreamTraffic(stream uint32) (lb.Traffic, error)
	TargetTraffic(id uint16) (lb.Traffic, error)
}

// SlowPath is what user space did for packets that the data plane handed over.
type SlowPath interface {
	SlowPath() lb.SlowPathCounters
}

// Prober is where the balancer tries whether packets get through.
type Prober interface {
	Probe(frame []byte) (lb.ProbeResult, error)
}

// DataPlane is everything the balancer needs of one; *lb.LB is one.
type DataPlane interface {
	Tables
	Targets
	Statistics
	SlowPath
	Prober
}

// Links is the balancer's view of the links in its namespace.
type Links interface {
	// Watch reports the links that are there, then every change, until ctx
	// ends. Calls of fn never overlap.
	Watch(ctx context.Context, fn func(nl.LinkEvent)) error
	// SetUp and SetDown set a link up and down. They are called for several
	// links at once.
	SetUp(index int) error
	SetDown(index int) error
}

// NamespaceLinks returns the links of the namespace at path; "" is the current
// one.
func NamespaceLinks(path string) Links { return namespaceLinks(path) }

type namespaceLinks string

func (n namespaceLinks) Watch(ctx context.Context, fn func(nl.LinkEvent)) error {
	return nl.WatchLinks(ctx, string(n), fn)
}

func (n namespaceLinks) SetUp(index int) error { return n.with((*nl.Handle).SetUp, index) }

func (n namespaceLinks) SetDown(index int) error { return n.with((*nl.Handle).SetDown, index) }

func (n namespaceLinks) with(set func(*nl.Handle, int) error, index int) error {
	handle, err := nl.Open(string(n))
	if err != nil {
		return err
	}
	defer func() { _ = handle.Close() }()
	return set(handle, index)
}
