// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Reasons why a connection needs another Request.
var (
	ErrRefreshRequested = errors.New("refresh requested from upstream")
	ErrDown             = errors.New("connection is down")
	ErrUnknown          = errors.New("connection is not known to the nsmgr")
)

// Monitor returns when the connection with that id needs another Request, with
// the reason, or when ctx ends. A client that may not monitor its connection
// (the SDK's policies forget the right after a failed Request) has to live
// with refreshing in time: then Monitor returns at the end of ctx only.
//
// There is one call per connection, because those policies grant no wider
// view.
func (c *Client) Monitor(ctx context.Context, id string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.monitor.MonitorConnections(ctx, &networkservice.MonitorScopeSelector{
		PathSegments: []*networkservice.PathSegment{{Name: c.name, Id: id}},
	})
	for err == nil {
		var event *networkservice.ConnectionEvent
		if event, err = stream.Recv(); err == nil {
			err = reason(event, id)
		}
	}
	if code := status.Code(err); code == codes.PermissionDenied || code == codes.Unimplemented {
		<-ctx.Done()
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("monitor connection %s: %w", id, err)
}

func reason(event *networkservice.ConnectionEvent, id string) error {
	conn := find(event, id)
	switch {
	case conn == nil && event.GetType() == networkservice.ConnectionEventType_INITIAL_STATE_TRANSFER:
		return ErrUnknown
	case conn == nil:
		return nil
	case event.GetType() == networkservice.ConnectionEventType_DELETE, conn.GetState() == networkservice.State_DOWN:
		return ErrDown
	case conn.GetState() == networkservice.State_REFRESH_REQUESTED:
		return ErrRefreshRequested
	}
	return nil
}

// find returns the event's connection whose path begins with that id.
func find(event *networkservice.ConnectionEvent, id string) *networkservice.Connection {
	for _, conn := range event.GetConnections() {
		segments := conn.GetPath().GetPathSegments()
		if len(segments) > 0 && segments[0].GetId() == id {
			return conn
		}
	}
	return nil
}
