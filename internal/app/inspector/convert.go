// SPDX-License-Identifier: Apache-2.0

package inspector

import (
	"net/netip"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weft-project/weft/internal/inspect"
	balancerv1 "github.com/weft-project/weft/pkg/api/balancer/v1"
)

func toReplica(r inspect.Replica) *balancerv1.Replica {
	return &balancerv1.Replica{
		Name: r.Name, Trench: r.Trench, Conduit: r.Conduit, Netns: r.NetNS,
		Interface: r.Interface, Vlan: uint32(r.VLAN), Mode: r.Mode, Mac: r.MAC,
	}
}

func toStatistics(name string, s inspect.Statistics) *balancerv1.ReplicaStatistics {
	out := &balancerv1.ReplicaStatistics{
		Replica: name, Flows: toTraffic(s.Flows), Streams: toTraffic(s.Streams), Targets: toTraffic(s.Targets),
		FragmentsHeld: s.SlowPath.Held,
	}
	for _, r := range s.Reasons {
		out.Reasons = append(out.Reasons, &balancerv1.ReasonCounter{Reason: r.Reason, Packets: r.Packets, Drop: r.Drop})
	}
	for event, n := range s.SlowPath.All {
		out.SlowPath = append(out.SlowPath, &balancerv1.EventCounter{Event: event, Count: n})
	}
	return out
}

func toTraffic(list []inspect.Traffic) []*balancerv1.TrafficCounter {
	var out []*balancerv1.TrafficCounter
	for _, t := range list {
		out = append(out, &balancerv1.TrafficCounter{Name: t.Name, Stream: t.Stream, Packets: t.Packets, Bytes: t.Bytes})
	}
	return out
}

var actions = map[inspect.Action]balancerv1.Decision_Action{
	inspect.Sent:     balancerv1.Decision_SENT,
	inspect.Deferred: balancerv1.Decision_SLOW_PATH,
	inspect.Passed:   balancerv1.Decision_PASSED,
	inspect.Dropped:  balancerv1.Decision_DROPPED,
}

func toDecision(d inspect.Decision, limit int) *balancerv1.Decision {
	out := &balancerv1.Decision{
		Packet: toPacket(d.Packet), Stream: d.Stream,
		Reason: d.Reason.Name, Action: actions[d.Reason.Action], Meaning: d.Reason.Meaning, Advice: d.Reason.Advice,
		Notes: d.Notes, Disagreements: d.Disagreements,
	}
	if d.VIP.IsValid() {
		out.Vip = d.VIP.String()
	}
	for _, m := range d.Mismatches[:min(len(d.Mismatches), limit)] {
		out.Mismatches = append(out.Mismatches, &balancerv1.Mismatch{
			Flow: m.Flow, Priority: m.Priority, Stream: m.Stream, Field: m.Field, Reason: m.Reason,
		})
	}
	out.MismatchesLeftOut = uint32(max(0, len(d.Mismatches)-limit))
	if d.Flow != "" {
		out.Flow = &balancerv1.Flow{Name: d.Flow, Priority: d.Priority}
	}
	if d.Size > 0 {
		out.Slot = &balancerv1.Slot{Number: d.Slot, Size: d.Size}
	}
	if d.Target != "" {
		out.Target = &balancerv1.Target{Name: d.Target, Interface: d.Interface, Mac: d.TargetMAC.String()}
	}
	if d.From != d.To {
		out.Translation = &balancerv1.Translation{From: uint32(d.From), To: uint32(d.To)}
	}
	if d.Rewritten != nil {
		out.Rewritten, out.RewrittenFrame = toPacket(inspect.Summarize(d.Rewritten)), d.Rewritten
	}
	return out
}

func toPacket(p inspect.Packet) *balancerv1.Packet {
	out := &balancerv1.Packet{
		SourceMac: p.SourceMAC.String(), DestinationMac: p.DestinationMAC.String(), Network: p.Network,
		Source: address(p.Source), Destination: address(p.Destination), Protocol: p.Protocol,
		SourcePort: uint32(p.SourcePort), DestinationPort: uint32(p.DestinationPort),
		Ttl: uint32(p.TTL), Length: uint32(p.Length), Details: p.Details,
	}
	for _, id := range p.VLANs {
		out.Vlans = append(out.Vlans, uint32(id))
	}
	return out
}

func address(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func toEvent(e inspect.Event) *balancerv1.ObserveResponse {
	out := &balancerv1.ObserveResponse{
		Time: timestamppb.New(e.Time), Replica: e.Replica, Reply: e.Reply, Reason: e.Reason.String(), Drop: e.Reason.Drop(),
		Source: address(e.Src), Destination: address(e.Dst),
		SourcePort: uint32(e.SourcePort), DestinationPort: uint32(e.DestinationPort),
		Length: uint32(e.Length), Flow: e.Flow, Stream: e.Stream, Target: e.Target, Lost: e.Lost,
	}
	if e.Src.IsValid() {
		out.Protocol = inspect.ProtocolName(e.Protocol)
	}
	return out
}
