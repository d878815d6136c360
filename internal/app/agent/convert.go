// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"net/netip"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weft-project/weft/internal/attachment"
	"github.com/weft-project/weft/internal/workload"
	agentv1 "github.com/weft-project/weft/pkg/api/agent/v1"
)

// fromSpec leaves out the namespace, which depends on the caller.
func fromSpec(spec *agentv1.AttachmentSpec) (attachment.Spec, error) {
	if spec == nil {
		return attachment.Spec{}, invalid("spec", "is needed")
	}
	wanted := attachment.Spec{
		Name: spec.GetName(), NetworkService: spec.GetNetworkService(), Interface: spec.GetInterface(),
		Streams: spec.GetStreams(), Labels: spec.GetLabels(),
	}
	for _, text := range spec.GetAddresses() {
		prefix, err := parseAddress(text)
		if err != nil {
			return attachment.Spec{}, invalid("addresses", err.Error())
		}
		wanted.Addresses = append(wanted.Addresses, prefix)
	}
	return wanted, nil
}

// parseAddress takes an address without prefix length as a host's.
func parseAddress(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is not an address, with or without prefix length", text)
	}
	return prefix, nil
}

func toAttachment(a attachment.Attachment) *agentv1.Attachment {
	out := &agentv1.Attachment{
		Spec: &agentv1.AttachmentSpec{
			Name: a.Spec.Name, NetworkService: a.Spec.NetworkService, Interface: a.Spec.Interface,
			Streams: a.Spec.Streams, Labels: a.Spec.Labels, Addresses: texts(a.Spec.Addresses), Netns: a.Spec.Path,
		},
		Generation: a.Generation,
		Created:    toTime(a.Created),
		Status: &agentv1.AttachmentStatus{
			ObservedGeneration: a.Status.ObservedGeneration,
			LastError:          a.Status.LastError,
			Target:             a.Status.Target,
			Netns:              a.Status.NetNSPath,
			NetnsId:            workload.Short(a.Spec.NetNS),
		},
	}
	for _, condition := range a.Status.Conditions {
		out.Status.Conditions = append(out.Status.Conditions, &agentv1.Condition{
			Type: string(condition.Type), Status: toConditionStatus[condition.Status],
			Reason: condition.Reason, Message: condition.Message, LastTransition: toTime(condition.LastTransition),
		})
	}
	if iface := a.Status.Interface; iface != nil {
		out.Status.Interface = &agentv1.Interface{
			Name: iface.Name, Index: int32(iface.Index), Mac: iface.MAC.String(), Mtu: int32(iface.MTU),
			Addresses: texts(iface.Addresses), Vips: texts(iface.VIPs),
		}
	}
	for _, leg := range a.Status.Legs {
		out.Status.Legs = append(out.Status.Legs, &agentv1.Leg{
			Endpoint: leg.Endpoint, State: toLegState[leg.State], ConnectionId: leg.ConnectionID,
			Since: toTime(leg.Since), LastError: leg.LastError, RetryAt: toTime(leg.RetryAt),
		})
	}
	for _, stream := range a.Status.Streams {
		out.Status.Streams = append(out.Status.Streams, &agentv1.StreamStatus{
			Name: stream.Name, State: toStreamState[stream.State], Message: stream.Message, Since: toTime(stream.Since),
		})
	}
	return out
}

var toConditionStatus = map[attachment.ConditionStatus]agentv1.Condition_Status{
	attachment.Unknown: agentv1.Condition_UNKNOWN,
	attachment.True:    agentv1.Condition_TRUE,
	attachment.False:   agentv1.Condition_FALSE,
}

var toLegState = map[attachment.LegState]agentv1.Leg_State{
	attachment.Connecting: agentv1.Leg_CONNECTING,
	attachment.Up:         agentv1.Leg_UP,
	attachment.Updating:   agentv1.Leg_UPDATING,
	attachment.Retrying:   agentv1.Leg_RETRYING,
	attachment.Closing:    agentv1.Leg_CLOSING,
}

var toStreamState = map[attachment.StreamState]agentv1.StreamStatus_State{
	attachment.StreamPending: agentv1.StreamStatus_PENDING,
	attachment.StreamJoined:  agentv1.StreamStatus_JOINED,
	attachment.StreamRefused: agentv1.StreamStatus_REFUSED,
}

func toTime(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func texts(prefixes []netip.Prefix) []string {
	var out []string
	for _, prefix := range prefixes {
		out = append(out, prefix.String())
	}
	return out
}
