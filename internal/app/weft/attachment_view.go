// SPDX-License-Identifier: Apache-2.0

package weft

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weft-project/weft/internal/cli"
	agentv1 "github.com/weft-project/weft/pkg/api/agent/v1"
	"github.com/weft-project/weft/pkg/apis/v1alpha1"
)

// toResource renders an attachment as the resource that it is.
func toResource(at *agentv1.Attachment) *v1alpha1.Attachment {
	spec, st := at.GetSpec(), at.GetStatus()
	out := &v1alpha1.Attachment{
		TypeMeta: v1alpha1.TypeMeta{APIVersion: v1alpha1.APIVersion, Kind: v1alpha1.KindAttachment},
		Metadata: v1alpha1.ObjectMeta{Name: spec.GetName(), Generation: at.GetGeneration()},
		Spec: v1alpha1.AttachmentSpec{
			NetworkService: spec.GetNetworkService(), Interface: spec.GetInterface(), Streams: spec.GetStreams(),
			Labels: spec.GetLabels(), Addresses: spec.GetAddresses(), NetNS: spec.GetNetns(),
		},
		Status: v1alpha1.AttachmentStatus{
			Status:    v1alpha1.Status{ObservedGeneration: st.GetObservedGeneration()},
			LastError: st.GetLastError(), Target: st.GetTarget(), NetNS: st.GetNetns(), NetNSID: st.GetNetnsId(),
		},
	}
	for _, c := range st.GetConditions() {
		out.Status.Conditions = append(out.Status.Conditions, v1alpha1.Condition{
			Type: c.GetType(), Status: conditionStatus(c.GetStatus()), ObservedGeneration: st.GetObservedGeneration(),
			LastTransitionTime: timeOf(c.GetLastTransition()), Reason: c.GetReason(), Message: c.GetMessage(),
		})
	}
	if i := st.GetInterface(); i != nil {
		out.Status.Interface = &v1alpha1.AttachedInterface{
			Name: i.GetName(), Index: int(i.GetIndex()), MAC: i.GetMac(), MTU: int(i.GetMtu()),
			Addresses: i.GetAddresses(), Vips: i.GetVips(),
		}
	}
	for _, l := range st.GetLegs() {
		out.Status.Legs = append(out.Status.Legs, v1alpha1.Leg{
			Endpoint: l.GetEndpoint(), State: strings.ToLower(l.GetState().String()), ConnectionID: l.GetConnectionId(),
			Since: timeOf(l.GetSince()), LastError: l.GetLastError(), RetryAt: timeOf(l.GetRetryAt()),
		})
	}
	return out
}

func conditionStatus(s agentv1.Condition_Status) v1alpha1.ConditionStatus {
	switch s {
	case agentv1.Condition_TRUE:
		return v1alpha1.ConditionTrue
	case agentv1.Condition_FALSE:
		return v1alpha1.ConditionFalse
	}
	return v1alpha1.ConditionUnknown
}

func timeOf(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

func (a *app) printAttachments(list []*agentv1.Attachment, single bool) error {
	if !a.format.Human() {
		var out []*v1alpha1.Attachment
		for _, at := range list {
			out = append(out, toResource(at))
		}
		if single && len(out) == 1 {
			return a.format.Write(a.env.Stdout, out[0])
		}
		return a.format.Write(a.env.Stdout, newList(out))
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(a.env.Stderr, "no attachments found")
		return err
	}
	wide := a.format == cli.FormatWide
	t := cli.Table{Header: []string{"ATTACHMENT", "NETWORK", "INTERFACE", "STREAMS", "LEGS", "READY", "AGE"}}
	if wide {
		t.Header = append(t.Header, "WEIGHT", "ADDRESSES", "VIPS", "MAC", "TARGET", "NETNS", "MESSAGE")
	}
	for _, at := range list {
		t.Add(a.attachmentRow(at, wide)...)
	}
	return t.Print(a.env.Stdout, a.env.Color())
}

func (a *app) attachmentRow(at *agentv1.Attachment, wide bool) []cli.Cell {
	r := toResource(at)
	name := r.Spec.Interface
	if r.Status.Interface != nil {
		name = r.Status.Interface.Name
	}
	row := []cli.Cell{
		cli.Text(r.Metadata.Name), cli.Text(r.Spec.NetworkService), cli.Text(name), cli.List(r.Spec.Streams),
		legsCell(r.Status.Legs), conditionCell(&r.Status.Status, v1alpha1.ConditionReady),
		cli.Text(cli.Age(a.env.Now(), timeOf(at.GetCreated()))),
	}
	if !wide {
		return row
	}
	i := r.Status.Interface
	if i == nil {
		i = &v1alpha1.AttachedInterface{}
	}
	message := r.Status.LastError
	if message == "" {
		message = messages(&r.Status.Status)
	}
	netns := r.Status.NetNS
	if netns == "" {
		netns = r.Spec.NetNS
	}
	return append(row, weightCell(r.Spec.Labels), cli.List(i.Addresses), cli.List(i.Vips), cli.Text(i.MAC), cli.Text(r.Status.Target), cli.Text(netns), cli.Text(message))
}

// weightCell tells the share of new flows that a workload asks for.
func weightCell(labels map[string]string) cli.Cell {
	weight := labels["weight"]
	if weight == "" {
		weight = "1"
	}
	if labels["drain"] == "true" {
		return cli.Cell{Text: weight + " (draining)", Style: cli.Pending}
	}
	return cli.Text(weight)
}

// legsCell counts the legs that carry traffic.
func legsCell(legs []v1alpha1.Leg) cli.Cell {
	up := 0
	for _, l := range legs {
		if l.State == "up" || l.State == "updating" {
			up++
		}
	}
	c := cli.Textf("%d/%d", up, len(legs))
	switch {
	case len(legs) > 0 && up == len(legs):
		c.Style = cli.Good
	case up > 0:
		c.Style = cli.Pending
	default:
		c.Style = cli.Bad
	}
	return c
}

type attachmentEvent struct {
	Type   string               `json:"type"`
	Object *v1alpha1.Attachment `json:"object"`
}

func (a *app) printAttachmentEvent(kind agentv1.WatchResponse_Kind, at *agentv1.Attachment) error {
	event := strings.ToLower(kind.String())
	if kind == agentv1.WatchResponse_SNAPSHOT {
		event = "present"
	}
	r := toResource(at)
	if !a.format.Human() {
		return a.format.WriteEvent(a.env.Stdout, attachmentEvent{event, r})
	}
	ready := conditionCell(&r.Status.Status, v1alpha1.ConditionReady).Text
	line := fmt.Sprintf("%s %-8s %s network=%s interface=%s streams=%s legs=%s ready=%s",
		a.env.Now().Format("15:04:05.000"), event, r.Metadata.Name, r.Spec.NetworkService, r.Spec.Interface,
		strings.Join(r.Spec.Streams, ","), legsCell(r.Status.Legs).Text, ready)
	if r.Status.LastError != "" {
		line += fmt.Sprintf(" error=%q", r.Status.LastError)
	}
	_, err := fmt.Fprintln(a.env.Stdout, line)
	return err
}
