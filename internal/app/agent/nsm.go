// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/weft-project/weft/internal/attachment"
	"github.com/weft-project/weft/pkg/networkservice/chains/client"
	"github.com/weft-project/weft/pkg/networkservice/extracontext"
)

// nsm is the reconciler's view of the mesh.
type nsm struct {
	client *client.Client
	node   *node
	// live holds the connections as they were answered, by id, with their
	// tokens, which are not for the disk.
	live sync.Map
}

// Endpoints implements attachment.Mesh.
func (m *nsm) Endpoints(ctx context.Context, service string, known []string, changed func([]string)) {
	m.client.Endpoints(ctx, service, known, changed)
}

// Monitor implements attachment.Mesh.
func (m *nsm) Monitor(ctx context.Context, connection attachment.Connection) error {
	err := m.client.Monitor(ctx, connection.ID)
	switch {
	case errors.Is(err, client.ErrRefreshRequested):
		return attachment.ErrRefresh
	case errors.Is(err, client.ErrDown):
		return fmt.Errorf("%w: %w", attachment.ErrLost, err)
	}
	return err
}

// Recovered implements attachment.Mesh.
func (m *nsm) Recovered(ctx context.Context, fn func()) { m.client.Recovered(ctx, fn) }

// Request implements attachment.Mesh.
func (m *nsm) Request(ctx context.Context, request attachment.Request) (attachment.Connection, error) {
	ref := m.node.watcher.Path(request.NetNS)
	if ref.Target == "" {
		return attachment.Connection{}, &attachment.Error{Kind: attachment.Unavailable, Field: "netns", Message: "the network namespace is gone"}
	}
	conn, err := m.connection(request)
	if err != nil {
		return attachment.Connection{}, err
	}
	if expires := request.Connection.Expires; !expires.IsZero() && time.Now().After(expires) {
		// The lease has ended, and the addresses may be somebody else's. An
		// endpoint that knows of neither would believe what we say.
		conn.Context.IpContext = wanted(request)
	}
	if err := fill(conn, request, ref.Path); err != nil {
		return attachment.Connection{}, err
	}
	answer, err := m.client.Request(ctx, &networkservice.NetworkServiceRequest{
		Connection:           conn,
		MechanismPreferences: []*networkservice.Mechanism{mechanism(request, ref.Path)},
	})
	if err != nil {
		return attachment.Connection{}, fromMesh(err)
	}
	if !ref.Valid() && !m.inPlace(request) {
		// The process that led to the namespace has ended meanwhile and its
		// number may have become another's.
		_, closeErr := m.client.Close(ctx, answer)
		return attachment.Connection{}, errors.Join(&attachment.Error{Kind: attachment.Unavailable, Field: "netns",
			Message: "the way to the network namespace changed during the request"}, closeErr)
	}
	kept, err := m.keep(request.Connection.ID, answer)
	if err != nil {
		_, closeErr := m.client.Close(ctx, answer)
		m.live.Delete(request.Connection.ID)
		return attachment.Connection{}, errors.Join(err, closeErr)
	}
	return kept, nil
}

// Close implements attachment.Mesh.
func (m *nsm) Close(ctx context.Context, request attachment.Request) error {
	conn, err := m.connection(request)
	if err != nil {
		return err
	}
	if request.Connection.State == nil { // nobody has answered for it
		conn.NetworkService, conn.NetworkServiceEndpointName = request.Service, request.Endpoint
	}
	conn.Mechanism = mechanism(request, m.node.watcher.Path(request.NetNS).Path)
	_, err = m.client.Close(ctx, conn)
	if expires := request.Connection.Expires; err == nil || !expires.IsZero() && time.Now().After(expires) {
		m.live.Delete(request.Connection.ID)
	}
	if err != nil {
		return fromMesh(err)
	}
	return nil
}

// connection returns the standing connection, or the begin of a new one.
func (m *nsm) connection(request attachment.Request) (*networkservice.Connection, error) {
	if live, ok := m.live.Load(request.Connection.ID); ok && request.Connection.State != nil {
		return live.(*networkservice.Connection).Clone(), nil
	}
	conn := &networkservice.Connection{}
	if request.Connection.State != nil {
		if err := proto.Unmarshal(request.Connection.State, conn); err != nil {
			return nil, fmt.Errorf("decode stored connection %s: %w", request.Connection.ID, err)
		}
		return conn, nil
	}
	conn.Id = request.Connection.ID
	conn.NetworkService, conn.NetworkServiceEndpointName = request.Service, request.Endpoint
	conn.Path = m.client.Path(request.Connection.ID)
	conn.Context = &networkservice.ConnectionContext{IpContext: wanted(request)}
	return conn, nil
}

// wanted asks for the addresses that the workload named.
func wanted(request attachment.Request) *networkservice.IPContext {
	ip := &networkservice.IPContext{}
	for _, address := range request.Addresses {
		ip.SrcIpAddrs = append(ip.SrcIpAddrs, address.String())
	}
	return ip
}

// fill writes what is wanted into a connection. Streams, weight and draining
// travel in the extra context, because changed labels do not pass the SDK's
// clients. They are always there: a label that was removed would still count.
func fill(conn *networkservice.Connection, request attachment.Request, path string) error {
	labels := &networkservice.Connection{Labels: request.Labels}
	weight, err := extracontext.Weight(labels)
	if err != nil {
		return invalid("labels[weight]", err.Error())
	}
	drain, err := extracontext.Drain(labels)
	if err != nil {
		return invalid("labels[drain]", err.Error())
	}
	conn.State = networkservice.State_UP
	conn.NetworkService = request.Service
	conn.NetworkServiceEndpointName = request.Endpoint
	conn.Labels = request.Labels
	if conn.Mechanism != nil {
		conn.Mechanism = mechanism(request, path)
	}
	extracontext.SetStreams(conn, request.Streams)
	extracontext.SetWeight(conn, weight)
	extracontext.SetDrain(conn, drain)
	extracontext.SetTarget(conn, request.Target)
	if conn.Context.EthernetContext == nil {
		conn.Context.EthernetContext = &networkservice.EthernetContext{}
	}
	conn.Context.EthernetContext.SrcMac = request.MAC.String()
	return nil
}

func mechanism(request attachment.Request, path string) *networkservice.Mechanism {
	m := kernel.ToMechanism(kernel.New((&url.URL{Scheme: "file", Path: path}).String()))
	m.SetInterfaceName(request.Interface)
	return m.Mechanism
}

// inPlace reports whether the workload's namespace has the interface.
func (m *nsm) inPlace(request attachment.Request) bool {
	iface, err := m.node.Interface(m.node.Path(request.NetNS), request.Interface)
	return err == nil && iface.MAC.String() == request.MAC.String()
}

// keep remembers an answered connection.
func (m *nsm) keep(id string, conn *networkservice.Connection) (attachment.Connection, error) {
	m.live.Store(id, conn.Clone())
	kept := attachment.Connection{ID: id}
	if expires := client.Expires(conn); !expires.IsZero() {
		// From now on a jump of the wall clock means nothing.
		kept.Expires = time.Now().Add(time.Until(expires))
	}
	var err error
	if kept.Addresses, kept.VIPs, err = addresses(conn); err != nil {
		return attachment.Connection{}, fmt.Errorf("read answer of %s: %w", conn.GetNetworkServiceEndpointName(), err)
	}
	lasting := conn.Clone()
	for _, segment := range lasting.GetPath().GetPathSegments() {
		segment.Token, segment.Expires, segment.Metrics = "", nil, nil
	}
	if kept.State, err = (proto.MarshalOptions{Deterministic: true}).Marshal(lasting); err != nil {
		return attachment.Connection{}, fmt.Errorf("encode connection %s: %w", id, err)
	}
	return kept, nil
}

// addresses tells the interface's own addresses from VIPs: those that a policy
// routes by source.
func addresses(conn *networkservice.Connection) (own, vips []netip.Prefix, err error) {
	ip := conn.GetContext().GetIpContext()
	for _, policy := range ip.GetPolicies() {
		vip, err := parseAddress(policy.GetFrom())
		if err != nil {
			return nil, nil, fmt.Errorf("policy: %w", err)
		}
		vips = append(vips, vip)
	}
	shared := extracontext.VIPsOf(ip)
	for _, text := range ip.GetSrcIpAddrs() {
		address, err := parseAddress(text)
		if err != nil {
			return nil, nil, fmt.Errorf("address: %w", err)
		}
		if !shared.Contain(address.Addr()) {
			own = append(own, address)
		}
	}
	return own, vips, nil
}

var kindOfCode = map[codes.Code]attachment.Kind{
	codes.InvalidArgument:    attachment.Invalid,
	codes.NotFound:           attachment.NotFound,
	codes.AlreadyExists:      attachment.Exists,
	codes.PermissionDenied:   attachment.Denied,
	codes.Unauthenticated:    attachment.Denied,
	codes.ResourceExhausted:  attachment.Exhausted,
	codes.FailedPrecondition: attachment.Precondition,
	codes.Unavailable:        attachment.Unavailable,
	codes.DeadlineExceeded:   attachment.Unavailable,
	codes.Canceled:           attachment.Unavailable,
}

// fromMesh turns an error of the mesh into the reconciler's.
func fromMesh(err error) error {
	origin := client.Origin(err)
	message := origin.Message()
	// The field's name in NSM is not that in the caller's request.
	if problem, ok := strings.CutPrefix(message, "src_ip_addrs: "); ok {
		return &attachment.Error{Kind: kindOfCode[origin.Code()], Field: "addresses", Message: problem}
	}
	return &attachment.Error{Kind: kindOfCode[origin.Code()], Message: message}
}
