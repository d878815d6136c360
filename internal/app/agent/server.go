// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weft-project/weft/internal/attachment"
	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/workload"
	agentv1 "github.com/weft-project/weft/pkg/api/agent/v1"
)

const (
	defaultWait = 15 * time.Second
	// maxMargin is what a wait leaves of the caller's deadline for the answer
	// to arrive in.
	maxMargin = 200 * time.Millisecond
)

// server is the workload API on one socket.
type server struct {
	agentv1.UnimplementedAgentServer
	manager *attachment.Manager
	admin   bool
}

// scope tells whose attachments the caller can see.
func (s *server) scope(ctx context.Context, path string) (attachment.Scope, error) {
	if s.admin && path == "" {
		return attachment.Scope{}, nil
	}
	id, _, err := s.namespace(ctx, path)
	return attachment.Scope{NetNS: &id}, err
}

// namespace returns the workload's namespace: the caller's own, or on the
// administrator's socket the one that the request names.
func (s *server) namespace(ctx context.Context, path string) (netns.ID, string, error) {
	if !s.admin {
		if path != "" {
			return netns.ID{}, "", &attachment.Error{Kind: attachment.Denied, Field: "netns",
				Message: "only the administrator's socket takes a namespace; here it is the caller's own"}
		}
		caller, err := workload.PeerFrom(ctx)
		return caller.NetNS, caller.Path, err
	}
	switch {
	case path == "":
		return netns.ID{}, "", invalid("netns", "is needed on the administrator's socket")
	case !filepath.IsAbs(path):
		return netns.ID{}, "", invalid("netns", `"`+path+`" is not an absolute path`)
	}
	id, err := netns.Identify(path)
	if err != nil {
		return netns.ID{}, "", &attachment.Error{Kind: attachment.NotFound, Field: "netns", Message: err.Error()}
	}
	return id, path, nil
}

// Attach implements agentv1.AgentServer.
func (s *server) Attach(ctx context.Context, request *agentv1.AttachRequest) (*agentv1.AttachResponse, error) {
	wanted, err := fromSpec(request.GetSpec())
	if err != nil {
		return nil, toStatus(err)
	}
	if wanted.NetNS, wanted.Path, err = s.namespace(ctx, request.GetSpec().GetNetns()); err != nil {
		return nil, toStatus(err)
	}
	wait, err := waitTime(ctx, request.GetWait(), request.GetWaitTimeout())
	if err != nil {
		return nil, toStatus(err)
	}
	made, err := s.manager.Attach(ctx, wanted, wait)
	if err != nil {
		return nil, toStatus(err)
	}
	return &agentv1.AttachResponse{Attachment: toAttachment(made)}, nil
}

// Update implements agentv1.AgentServer.
func (s *server) Update(ctx context.Context, request *agentv1.UpdateRequest) (*agentv1.UpdateResponse, error) {
	scope, err := s.scope(ctx, "")
	if err != nil {
		return nil, toStatus(err)
	}
	wait, err := waitTime(ctx, request.GetWait(), request.GetWaitTimeout())
	if err != nil {
		return nil, toStatus(err)
	}
	change := attachment.Change{
		Join: request.GetJoinStreams(), Leave: request.GetLeaveStreams(),
		SetLabels: request.GetSetLabels(), UnsetLabels: request.GetUnsetLabels(),
	}
	if request.GetStreams() != nil {
		change.Streams = append([]string{}, request.GetStreams().GetNames()...)
	}
	if request.GetLabels() != nil {
		change.Labels = map[string]string{}
		for key, value := range request.GetLabels().GetLabels() {
			change.Labels[key] = value
		}
	}
	changed, err := s.manager.Update(ctx, request.GetName(), scope, change, wait)
	if err != nil {
		return nil, toStatus(err)
	}
	return &agentv1.UpdateResponse{Attachment: toAttachment(changed)}, nil
}

// Detach implements agentv1.AgentServer.
func (s *server) Detach(ctx context.Context, request *agentv1.DetachRequest) (*agentv1.DetachResponse, error) {
	scope, err := s.scope(ctx, "")
	if err != nil {
		return nil, toStatus(err)
	}
	if err := s.manager.Detach(ctx, request.GetName(), scope); err != nil {
		return nil, toStatus(err)
	}
	return &agentv1.DetachResponse{}, nil
}

// List implements agentv1.AgentServer.
func (s *server) List(ctx context.Context, request *agentv1.ListRequest) (*agentv1.ListResponse, error) {
	scope, err := s.scope(ctx, request.GetNetns())
	if err != nil {
		return nil, toStatus(err)
	}
	response := &agentv1.ListResponse{}
	for _, a := range s.manager.List(attachment.Filter{
		Scope: scope, Name: request.GetName(), NetworkService: request.GetNetworkService(),
	}) {
		response.Attachments = append(response.Attachments, toAttachment(a))
	}
	return response, nil
}

// Watch implements agentv1.AgentServer.
func (s *server) Watch(request *agentv1.WatchRequest, stream agentv1.Agent_WatchServer) error {
	scope, err := s.scope(stream.Context(), request.GetNetns())
	if err != nil {
		return toStatus(err)
	}
	now, changes := s.manager.Subscribe(attachment.Filter{
		Scope: scope, Name: request.GetName(), NetworkService: request.GetNetworkService(),
	})
	defer changes.Close()
	snapshot := &agentv1.WatchResponse{Kind: agentv1.WatchResponse_SNAPSHOT}
	for _, a := range now {
		snapshot.Attachments = append(snapshot.Attachments, toAttachment(a))
	}
	if err := stream.Send(snapshot); err != nil {
		return err
	}
	for {
		events, err := changes.Next(stream.Context())
		if err != nil {
			return toStatus(err)
		}
		for _, event := range events {
			kind := agentv1.WatchResponse_CHANGED
			if event.Removed {
				kind = agentv1.WatchResponse_REMOVED
			}
			if err := stream.Send(&agentv1.WatchResponse{
				Kind: kind, Attachments: []*agentv1.Attachment{toAttachment(event.Attachment)},
			}); err != nil {
				return err
			}
		}
	}
}

// waitTime returns how long to wait, zero for not at all. It ends before the
// caller's deadline, so that the caller gets the reason and not only a
// timeout.
func waitTime(ctx context.Context, wait bool, timeout *durationpb.Duration) (time.Duration, error) {
	if !wait {
		return 0, nil
	}
	limit := defaultWait
	if timeout != nil {
		if err := timeout.CheckValid(); err != nil {
			return 0, invalid("wait_timeout", err.Error())
		}
		if limit = timeout.AsDuration(); limit <= 0 {
			return 0, invalid("wait_timeout", "is not positive")
		}
	}
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline)
		limit = min(limit, left-min(left/10, maxMargin))
	}
	return max(limit, time.Nanosecond), nil
}
