// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weft-project/weft/internal/attachment"
	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/workload"
	ambassadorv1 "github.com/weft-project/weft/pkg/api/ambassador/v1"
)

const (
	// tapOrigin marks the attachments that belong to the Tap API.
	tapOrigin = "tap"
	// maxPending is how long a stream may be PENDING.
	maxPending = 15 * time.Second
)

// tap is Meridio's Tap API: one attachment per conduit that the calling
// workload has opened a stream of.
type tap struct {
	ambassadorv1.UnimplementedTapServer
	manager *attachment.Manager
	// locks order the calls of one namespace, which look before they leap.
	locks [64]sync.Mutex
}

func (t *tap) lock(id netns.ID) *sync.Mutex { return &t.locks[id.Cookie%uint64(len(t.locks))] }

// Open implements ambassadorv1.TapServer.
func (t *tap) Open(ctx context.Context, stream *ambassadorv1.Stream) (*emptypb.Empty, error) {
	caller, err := t.caller(ctx, stream)
	if err != nil {
		return nil, toStatus(err)
	}
	lock := t.lock(caller.NetNS)
	lock.Lock()
	defer lock.Unlock()
	return &emptypb.Empty{}, toStatus(t.open(ctx, caller, stream))
}

func (t *tap) open(ctx context.Context, caller workload.Peer, stream *ambassadorv1.Stream) error {
	trench := stream.GetConduit().GetTrench().GetName()
	for _, a := range t.attachments(caller) {
		if _, other := split(a.Spec.NetworkService); other != trench && !detaching(a) {
			return &attachment.Error{Kind: attachment.Precondition, Field: "conduit.trench.name",
				Message: fmt.Sprintf("%q: trench %q is connected already", trench, other)}
		}
	}
	service := serviceOf(stream)
	scope := attachment.Scope{NetNS: &caller.NetNS}
	for _, a := range t.attachments(caller) {
		if a.Spec.NetworkService != service {
			continue
		}
		if detaching(a) {
			// The last stream was closed just now; what remains of the
			// attachment is in the way.
			if err := t.manager.Detach(ctx, a.Spec.Name, scope); err != nil && attachment.KindOf(err) != attachment.NotFound {
				return err
			}
			continue
		}
		_, err := t.manager.Update(ctx, a.Spec.Name, scope, attachment.Change{Join: []string{stream.GetName()}}, 0)
		return err
	}
	_, err := t.manager.Attach(ctx, attachment.Spec{
		NetworkService: service, Streams: []string{stream.GetName()},
		NetNS: caller.NetNS, Path: caller.Path, Origin: tapOrigin,
	}, 0)
	return err
}

// Close implements ambassadorv1.TapServer.
func (t *tap) Close(ctx context.Context, stream *ambassadorv1.Stream) (*emptypb.Empty, error) {
	caller, err := t.caller(ctx, stream)
	if err != nil {
		return nil, toStatus(err)
	}
	lock := t.lock(caller.NetNS)
	lock.Lock()
	defer lock.Unlock()
	return &emptypb.Empty{}, toStatus(t.close(ctx, caller, stream))
}

// close leaves a stream; one that is not open is closed already.
func (t *tap) close(ctx context.Context, caller workload.Peer, stream *ambassadorv1.Stream) error {
	scope := attachment.Scope{NetNS: &caller.NetNS}
	for _, a := range t.attachments(caller) {
		if a.Spec.NetworkService != serviceOf(stream) || !slices.Contains(a.Spec.Streams, stream.GetName()) {
			continue
		}
		if len(a.Spec.Streams) == 1 {
			return t.manager.Detach(ctx, a.Spec.Name, scope)
		}
		_, err := t.manager.Update(ctx, a.Spec.Name, scope, attachment.Change{Leave: []string{stream.GetName()}}, 0)
		return err
	}
	return nil
}

// Watch implements ambassadorv1.TapServer.
func (t *tap) Watch(wanted *ambassadorv1.Stream, out ambassadorv1.Tap_WatchServer) error {
	caller, err := workload.PeerFrom(out.Context())
	if err != nil {
		return toStatus(err)
	}
	filter := attachment.Filter{Scope: attachment.Scope{NetNS: &caller.NetNS}, Origin: tapOrigin}
	_, changes := t.manager.Subscribe(filter)
	defer changes.Close()
	var last *ambassadorv1.StreamResponse
	for {
		now, expiry := t.statuses(t.manager.List(filter), wanted)
		if last == nil || !proto.Equal(last, now) {
			if err := out.Send(now); err != nil {
				return err
			}
			last = now
		}
		if err := nextOrExpiry(out.Context(), changes, expiry); err != nil {
			return toStatus(err)
		}
	}
}

// nextOrExpiry waits for a change or for a stream to have been pending too
// long.
func nextOrExpiry(ctx context.Context, changes *attachment.Subscription, expiry time.Time) error {
	limited := ctx
	if !expiry.IsZero() {
		var cancel context.CancelFunc
		limited, cancel = context.WithDeadline(ctx, expiry)
		defer cancel()
	}
	_, err := changes.Next(limited)
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		return nil
	}
	return err
}

// statuses returns those of the matching streams, and when the first of them
// stops being PENDING by the mere passing of time.
func (t *tap) statuses(attachments []attachment.Attachment, wanted *ambassadorv1.Stream) (*ambassadorv1.StreamResponse, time.Time) {
	response := &ambassadorv1.StreamResponse{}
	var expiry time.Time
	for _, a := range attachments {
		if detaching(a) {
			continue
		}
		conduit, trench := split(a.Spec.NetworkService)
		for _, observed := range a.Status.Streams {
			stream := &ambassadorv1.Stream{Name: observed.Name, Conduit: &ambassadorv1.Conduit{
				Name: conduit, Trench: &ambassadorv1.Trench{Name: trench},
			}}
			if !matches(wanted, stream) {
				continue
			}
			state := statusOf(a, observed, time.Now())
			if end := observed.Since.Add(maxPending); state == ambassadorv1.StreamStatus_PENDING && (expiry.IsZero() || end.Before(expiry)) {
				expiry = end
			}
			response.StreamStatus = append(response.StreamStatus, &ambassadorv1.StreamStatus{Status: state, Stream: stream})
		}
	}
	return response, expiry
}

func statusOf(a attachment.Attachment, stream attachment.Stream, now time.Time) ambassadorv1.StreamStatus_Status {
	switch {
	case stream.State == attachment.StreamJoined:
		return ambassadorv1.StreamStatus_OPEN
	case stream.State == attachment.StreamRefused && (stream.Kind == attachment.NotFound || stream.Kind == attachment.Invalid):
		return ambassadorv1.StreamStatus_UNDEFINED
	case stream.State == attachment.StreamRefused,
		a.Condition(attachment.Ready).Reason == attachment.ReasonNoEndpoint,
		!now.Before(stream.Since.Add(maxPending)):
		return ambassadorv1.StreamStatus_UNAVAILABLE
	default:
		return ambassadorv1.StreamStatus_PENDING
	}
}

func (t *tap) attachments(caller workload.Peer) []attachment.Attachment {
	return t.manager.List(attachment.Filter{Scope: attachment.Scope{NetNS: &caller.NetNS}, Origin: tapOrigin})
}

// caller checks that every name is there.
func (t *tap) caller(ctx context.Context, stream *ambassadorv1.Stream) (workload.Peer, error) {
	for field, name := range map[string]string{
		"name":                stream.GetName(),
		"conduit.name":        stream.GetConduit().GetName(),
		"conduit.trench.name": stream.GetConduit().GetTrench().GetName(),
	} {
		if name == "" {
			return workload.Peer{}, invalid(field, "is needed")
		}
	}
	if strings.Contains(stream.GetConduit().GetTrench().GetName(), ".") {
		return workload.Peer{}, invalid("conduit.trench.name", `must not contain "."`)
	}
	return workload.PeerFrom(ctx)
}

func detaching(a attachment.Attachment) bool {
	reason := a.Condition(attachment.Ready).Reason
	return reason == attachment.ReasonDetaching || reason == attachment.ReasonNamespaceGone
}

func serviceOf(stream *ambassadorv1.Stream) string {
	return stream.GetConduit().GetName() + "." + stream.GetConduit().GetTrench().GetName()
}

// split undoes serviceOf.
func split(service string) (conduit, trench string) {
	i := strings.LastIndexByte(service, '.')
	return service[:i], service[i+1:]
}

// matches treats empty fields of wanted as wildcards.
func matches(wanted, stream *ambassadorv1.Stream) bool {
	same := func(want, have string) bool { return want == "" || want == have }
	return same(wanted.GetName(), stream.GetName()) &&
		same(wanted.GetConduit().GetName(), stream.GetConduit().GetName()) &&
		same(wanted.GetConduit().GetTrench().GetName(), stream.GetConduit().GetTrench().GetName())
}
