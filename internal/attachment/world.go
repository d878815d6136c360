// SPDX-License-Identifier: Apache-2.0

package attachment

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/weft-project/weft/internal/netns"
)

// Request is what a leg asks of the mesh.
type Request struct {
	// Connection is the standing connection, or one with nothing but an ID.
	Connection Connection
	Service    string
	Endpoint   string
	Target     string
	NetNS      netns.ID
	Interface  string
	MAC        net.HardwareAddr
	Streams    []string
	Labels     map[string]string
	Addresses  []netip.Prefix
}

// Connection is a leg as the mesh knows it.
type Connection struct {
	ID string
	// State is the mesh's own, stored so that the same connection can be
	// requested again after a restart.
	State []byte
	// Addresses and VIPs that the connection gives the workload's interface.
	Addresses, VIPs []netip.Prefix
	// Expires is when the mesh drops the connection unless it is requested
	// again; zero means never. It should be of the monotonic clock, so that a
	// jump of the other one ends nothing; a stored one cannot be.
	Expires time.Time
}

// Mesh connects to the endpoints of network services. Errors that are an
// endpoint's decision are *Error with its kind.
type Mesh interface {
	// Endpoints calls changed with the endpoints of the service, at first and
	// after each change, until ctx ends. The known ones are reported as
	// present until the mesh says that they are gone.
	Endpoints(ctx context.Context, service string, known []string, changed func([]string))
	// Request makes or changes a connection; again and again the same is
	// harmless, also after a request with the same ID whose answer was lost. A
	// failed change leaves the connection as it was.
	Request(ctx context.Context, request Request) (Connection, error)
	// Close ends a connection; closing what is not there is no error. Without
	// State it ends what a request with the ID may have begun.
	Close(ctx context.Context, request Request) error
	// Monitor returns why the connection needs another Request, or ctx's
	// error. Any other error than ErrRefresh and ErrLost means that the mesh
	// cannot tell about the connection any more, which may still stand.
	Monitor(ctx context.Context, connection Connection) error
	// Recovered calls fn whenever the mesh can be reached again, until ctx ends.
	Recovered(ctx context.Context, fn func())
}

// Reasons of Monitor.
var (
	// ErrRefresh: the endpoint has news for a connection that is in order.
	ErrRefresh = errors.New("endpoint asks for a refresh")
	// ErrLost: the connection carries nothing any more.
	ErrLost = errors.New("connection is lost")
)

// Namespaces watches network namespaces. Manager.NamespaceGone is to be called
// when one dies.
type Namespaces interface {
	// Watch fails when the namespace is gone. Each Watch needs an Unwatch.
	Watch(id netns.ID, hint string) error
	Unwatch(id netns.ID)
	// Path leads to a watched namespace; empty when it is gone.
	Path(id netns.ID) string
}

// Interfaces looks into network namespaces.
type Interfaces interface {
	// Interface returns the interface of that name, without Addresses and
	// VIPs, or an error of kind NotFound.
	Interface(netnsPath, name string) (Interface, error)
	// Inspect returns it with all its addresses, and the rules of ours in the
	// namespace.
	Inspect(netnsPath, name string) (Actual, error)
}

// Actual is an interface as it is.
type Actual struct {
	Interface
	Rules []netip.Prefix // sources that have routes of their own
}

// Record is an attachment as it is stored.
type Record struct {
	Spec       Spec
	Generation int64
	Created    time.Time
	// Removed: the attachment is being detached, its legs must be closed.
	Removed bool `json:",omitempty"`
	// Legs by endpoint. One without State is about to be requested, or has been
	// without an answer that is known: it is requested again with the same ID,
	// or closed.
	Legs map[string]Connection `json:",omitempty"`
}

// Store keeps records over a restart.
type Store interface {
	Load() ([]Record, error)
	Save(Record) error
	Delete(name string) error
}
