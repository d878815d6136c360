// SPDX-License-Identifier: Apache-2.0

package vlan

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"

	"github.com/weft-project/weft/internal/app/mesh"
	"github.com/weft-project/weft/internal/external"
	"github.com/weft-project/weft/pkg/networkservice/chains/client"
	"github.com/weft-project/weft/pkg/networkservice/extracontext"
)

// Client requests frontends' interfaces; it is an external.Mesh.
//
// A connection's id follows from attractor and replica, so that the next process
// takes it up again: the forwarder finds the interface by namespace and name, and
// the endpoint the addresses by their owner.
type Client struct {
	client *client.Client

	mu   sync.Mutex
	live map[string]*networkservice.Connection
}

// NewClient returns a client of the nsmgr at connectTo. The name is its own in the
// path of connections, and stays the same over restarts.
func NewClient(name string, connectTo *url.URL, security mesh.Security, sendFD bool) (*Client, error) {
	c, err := client.New(client.Options{Name: name, ConnectTo: connectTo, DialOptions: security.DialOptions, SendFD: sendFD})
	if err != nil {
		return nil, err
	}
	return &Client{client: c, live: map[string]*networkservice.Connection{}}, nil
}

// Stop ends all calls. The connections stay.
func (c *Client) Stop() error { return c.client.Stop() }

func id(spec external.Spec) string {
	sum := sha256.Sum256([]byte(spec.Service + "/" + spec.Attractor + "/" + spec.Replica + "/" + spec.Name))
	return "external-" + hex.EncodeToString(sum[:8])
}

func mechanism(spec external.Spec) *networkservice.Mechanism {
	path := spec.NetNS
	if path == "" {
		path = "/proc/self/ns/net"
	}
	m := kernel.ToMechanism(kernel.New((&url.URL{Scheme: "file", Path: path}).String()))
	m.SetInterfaceName(spec.Name)
	return m.Mechanism
}

func (c *Client) connection(spec external.Spec, had []netip.Prefix) *networkservice.Connection {
	c.mu.Lock()
	defer c.mu.Unlock()
	if conn := c.live[id(spec)]; conn != nil {
		return conn.Clone()
	}
	conn := &networkservice.Connection{
		Id: id(spec), NetworkService: spec.Service, Path: c.client.Path(id(spec)),
		Context: &networkservice.ConnectionContext{IpContext: &networkservice.IPContext{}},
	}
	for _, a := range had {
		conn.Context.IpContext.SrcIpAddrs = append(conn.Context.IpContext.SrcIpAddrs, a.String())
	}
	extracontext.SetTarget(conn, spec.Attractor+"/"+spec.Replica)
	return conn
}

// Connect implements external.Mesh. It refreshes after a third of the time that
// whoever forgets first grants.
func (c *Client) Connect(ctx context.Context, spec external.Spec, had []netip.Prefix) (time.Time, error) {
	conn, err := c.client.Request(ctx, &networkservice.NetworkServiceRequest{
		Connection: c.connection(spec, had), MechanismPreferences: []*networkservice.Mechanism{mechanism(spec)},
	})
	if err != nil {
		c.forget(spec) // the endpoint, or its id, may be another one next time
		return time.Time{}, fmt.Errorf("request network service %s: %w", spec.Service, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.live[id(spec)] = conn
	expires := client.Expires(conn)
	if expires.IsZero() {
		return time.Now().Add(time.Minute), nil
	}
	return time.Now().Add(time.Until(expires) / 3), nil
}

func (c *Client) forget(spec external.Spec) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.live, id(spec))
}

// Watch implements external.Mesh.
func (c *Client) Watch(ctx context.Context, spec external.Spec) error {
	return c.client.Monitor(ctx, id(spec))
}

// Close implements external.Mesh.
func (c *Client) Close(ctx context.Context, spec external.Spec) error {
	conn := c.connection(spec, nil)
	conn.Mechanism = mechanism(spec)
	_, err := c.client.Close(ctx, conn)
	c.forget(spec)
	if err != nil {
		return fmt.Errorf("close network service %s: %w", spec.Service, err)
	}
	return nil
}
