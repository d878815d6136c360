// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/registry"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/null"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/updatepath"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"github.com/networkservicemesh/sdk/pkg/tools/grpcutils"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"

	"github.com/weft-project/weft/pkg/networkservice/fd"
)

// Options of a Client. Name, ConnectTo and DialOptions are needed.
type Options struct {
	// Name is the client's name in the path of its connections. It must stay
	// the same over restarts for connections to be taken up again.
	Name string
	// ConnectTo is the nsmgr.
	ConnectTo *url.URL
	// DialOptions carry the credentials.
	DialOptions []grpc.DialOption
	// DialTimeout bounds one attempt to connect. Default 10 s.
	DialTimeout time.Duration
	// Authorize checks the answers; default: nothing.
	Authorize networkservice.NetworkServiceClient
	// SendFD passes files of mechanisms as descriptors, for an nsmgr that
	// cannot open our paths. Whoever receives them keeps them as long as the
	// connection lives.
	SendFD bool
	// MissingGrace is how long an endpoint that was known and is not listed
	// by a registry that was out of reach still counts as present, because a
	// restarted registry has to learn of its endpoints first. Default 30 s.
	MissingGrace time.Duration
}

// Client takes part in a mesh as a client.
type Client struct {
	networkservice.NetworkServiceClient
	conn         *grpc.ClientConn
	monitor      networkservice.MonitorConnectionClient
	endpoints    registry.NetworkServiceEndpointRegistryClient
	name         string
	missingGrace time.Duration
}

// reconnect bounds the pause between attempts to reach the nsmgr; gRPC's own
// two minutes would outlast a restart by far.
var reconnect = backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 500 * time.Millisecond}

// New returns a client. It connects when it is used.
func New(options Options) (*Client, error) {
	if options.Authorize == nil {
		options.Authorize = null.NewClient()
	}
	if options.MissingGrace == 0 {
		options.MissingGrace = 30 * time.Second
	}
	if options.DialTimeout == 0 {
		options.DialTimeout = 10 * time.Second
	}
	dialOptions := append([]grpc.DialOption{
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: reconnect, MinConnectTimeout: options.DialTimeout}),
	}, options.DialOptions...)
	conn, err := grpc.NewClient(grpcutils.URLToTarget(options.ConnectTo), dialOptions...)
	if err != nil {
		return nil, fmt.Errorf("connect to nsmgr at %s: %w", options.ConnectTo, err)
	}
	sendFDs := null.NewClient()
	if options.SendFD {
		sendFDs = fd.NewClient()
	}
	return &Client{
		NetworkServiceClient: chain.NewNetworkServiceClient(
			updatepath.NewClient(options.Name),
			metadata.NewClient(),
			options.Authorize,
			sendFDs,
			networkservice.NewNetworkServiceClient(conn),
		),
		conn:         conn,
		monitor:      networkservice.NewMonitorConnectionClient(conn),
		endpoints:    registry.NewNetworkServiceEndpointRegistryClient(conn),
		name:         options.Name,
		missingGrace: options.MissingGrace,
	}, nil
}

// Recovered calls fn whenever the nsmgr is reached again after it was not, until
// ctx ends. Meanwhile it keeps trying to reach it.
func (c *Client) Recovered(ctx context.Context, fn func()) {
	for lost := false; ; {
		state := c.conn.GetState()
		switch state {
		case connectivity.Ready:
			if lost {
				fn()
			}
			lost = false
		case connectivity.Idle:
			lost = true
			c.conn.Connect()
		default:
			lost = true
		}
		if state == connectivity.Shutdown || !c.conn.WaitForStateChange(ctx, state) {
			return
		}
	}
}

// Stop ends all calls. The connections of the mesh stay.
func (c *Client) Stop() error {
	if err := c.conn.Close(); err != nil {
		return fmt.Errorf("disconnect from nsmgr: %w", err)
	}
	return nil
}

// Path begins the path of a new connection.
func (c *Client) Path(id string) *networkservice.Path {
	return &networkservice.Path{PathSegments: []*networkservice.PathSegment{{Name: c.name, Id: id}}}
}

// Expires returns when the first of those on the path drops the connection;
// zero when none does.
func Expires(conn *networkservice.Connection) time.Time {
	var first time.Time
	for _, segment := range conn.GetPath().GetPathSegments() {
		if segment.GetExpires() == nil {
			continue
		}
		if at := segment.GetExpires().AsTime(); first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return first
}
