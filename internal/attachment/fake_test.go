// SPDX-License-Identifier: Apache-2.0

package attachment_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-project/weft/internal/attachment"
	"github.com/weft-project/weft/internal/netns"
)

// fakeMesh is a mesh of endpoints that know some streams.
type fakeMesh struct {
	mu        sync.Mutex
	endpoints map[string]map[string]*fakeEndpoint // by service, name
	watchers  map[int]func()
	watches   int
	// lifetime of connections, zero for ever.
	lifetime time.Duration
	back     chan struct{} // the mesh can be reached again
	// hang, when not nil, blocks requests until it is closed.
	hang chan struct{}
}

type fakeEndpoint struct {
	streams     []string
	maxTargets  int   // per endpoint, 0 for any number
	fail        error // of the next requests
	failClose   error
	hang        chan struct{} // as that of the mesh
	requests    []attachment.Request
	closes      int
	connections map[string]*fakeConnection
}

type fakeConnection struct {
	request attachment.Request
	reason  chan error // for the monitor
}

func newFakeMesh() *fakeMesh {
	return &fakeMesh{endpoints: make(map[string]map[string]*fakeEndpoint), watchers: make(map[int]func()), back: make(chan struct{})}
}

func (f *fakeMesh) add(service, name string, streams ...string) *fakeEndpoint {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.endpoints[service] == nil {
		f.endpoints[service] = make(map[string]*fakeEndpoint)
	}
	e := &fakeEndpoint{streams: streams, connections: make(map[string]*fakeConnection)}
	f.endpoints[service][name] = e
	f.tell()
	return e
}

func (f *fakeMesh) remove(service, name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.endpoints[service], name)
	f.tell()
}

func (f *fakeMesh) tell() {
	for _, watcher := range f.watchers {
		watcher()
	}
}

// with changes an endpoint.
func (f *fakeMesh) with(e *fakeEndpoint, change func(*fakeEndpoint)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(e)
}

// lose breaks all connections of an endpoint for the given reason.
func (f *fakeMesh) lose(e *fakeEndpoint, reason error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range e.connections {
		select {
		case c.reason <- reason:
		default:
		}
	}
}

func (f *fakeMesh) Endpoints(ctx context.Context, service string, _ []string, changed func([]string)) {
	wake := make(chan struct{}, 1)
	f.mu.Lock()
	id := f.watches
	f.watches++
	f.watchers[id] = func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.watchers, id)
	}()
	for {
		f.mu.Lock()
		names := slices.Sorted(maps.Keys(f.endpoints[service]))
		f.mu.Unlock()
		changed(names)
		select {
		case <-ctx.Done():
			return
		case <-wake:
		}
	}
}

func (f *fakeMesh) Request(ctx context.Context, request attachment.Request) (attachment.Connection, error) {
	f.mu.Lock()
	hang := f.hang
	if e := f.endpoints[request.Service][request.Endpoint]; e != nil && e.hang != nil {
		hang = e.hang
	}
	f.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-ctx.Done():
			return attachment.Connection{}, ctx.Err()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	e, ok := f.endpoints[request.Service][request.Endpoint]
	if !ok {
		return attachment.Connection{}, &attachment.Error{Kind: attachment.Unavailable, Message: "no such endpoint"}
	}
	e.requests = append(e.requests, request)
	if e.fail != nil {
		return attachment.Connection{}, e.fail
	}
	for _, stream := range request.Streams {
		if !slices.Contains(e.streams, stream) {
			return attachment.Connection{}, &attachment.Error{Kind: attachment.NotFound, Field: "streams", Message: fmt.Sprintf("%q is not known", stream)}
		}
	}
	id := request.Connection.ID
	c, ok := e.connections[id]
	if !ok {
		if e.maxTargets > 0 && len(e.connections) >= e.maxTargets {
			return attachment.Connection{}, &attachment.Error{Kind: attachment.Exhausted, Field: "streams", Message: "no more targets"}
		}
		c = &fakeConnection{reason: make(chan error, 8)}
		e.connections[id] = c
	}
	c.request = request
	connection := attachment.Connection{
		ID: id, State: []byte(request.Endpoint + "/" + id),
		Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")},
		VIPs:      []netip.Prefix{netip.MustParsePrefix("20.0.0.1/32")},
	}
	for _, wanted := range request.Addresses {
		if netip.MustParsePrefix("10.0.0.0/8").Contains(wanted.Addr()) {
			connection.Addresses = append(connection.Addresses, netip.PrefixFrom(wanted.Addr(), 32))
		}
	}
	if f.lifetime != 0 {
		connection.Expires = time.Now().Add(f.lifetime)
	}
	return connection, nil
}

func (f *fakeMesh) Recovered(ctx context.Context, fn func()) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.back:
			fn()
		}
	}
}

func (f *fakeMesh) Close(_ context.Context, request attachment.Request) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	e, ok := f.endpoints[request.Service][request.Endpoint]
	if !ok {
		return nil
	}
	e.closes++
	if e.failClose != nil {
		return e.failClose
	}
	delete(e.connections, request.Connection.ID)
	return nil
}

func (f *fakeMesh) Monitor(ctx context.Context, connection attachment.Connection) error {
	f.mu.Lock()
	var reason chan error
	for _, service := range f.endpoints {
		for _, e := range service {
			if c, ok := e.connections[connection.ID]; ok {
				reason = c.reason
			}
		}
	}
	f.mu.Unlock()
	if reason == nil {
		return errors.New("connection is not known")
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-reason:
		return err
	}
}

// connections returns the requests of an endpoint's connections by id.
func (f *fakeMesh) connections(e *fakeEndpoint) map[string]attachment.Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make(map[string]attachment.Request)
	for id, c := range e.connections {
		out[id] = c.request
	}
	return out
}

// joined returns the streams of each standing connection of an endpoint by
// target.
func (f *fakeMesh) joined(e *fakeEndpoint) map[string][]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make(map[string][]string)
	for _, c := range e.connections {
		out[c.request.Target] = c.request.Streams
	}
	return out
}

func (f *fakeMesh) count(e *fakeEndpoint) (requests, closes int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(e.requests), e.closes
}

// fakeNode is the namespaces of a node and what is in them.
type fakeNode struct {
	mu         sync.Mutex
	dead       map[netns.ID]bool
	uses       map[netns.ID]int
	interfaces map[string]bool   // "<cookie>/<name>"
	actual     attachment.Actual // what each of them has
}

func newFakeNode() *fakeNode {
	return &fakeNode{dead: make(map[netns.ID]bool), uses: make(map[netns.ID]int), interfaces: make(map[string]bool)}
}

func (n *fakeNode) Watch(id netns.ID, _ string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.uses[id]++
	if n.dead[id] {
		return errors.New("network namespace is gone")
	}
	return nil
}

func (n *fakeNode) Unwatch(id netns.ID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.uses[id]--; n.uses[id] == 0 {
		delete(n.uses, id)
	}
}

func (n *fakeNode) Path(id netns.ID) string { return fmt.Sprint(id.Cookie) }

func (n *fakeNode) Interface(path, name string) (attachment.Interface, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.interfaces[path+"/"+name] {
		return attachment.Interface{}, &attachment.Error{Kind: attachment.NotFound, Message: "no such interface"}
	}
	return attachment.Interface{Name: name, Index: 7, MTU: 1500}, nil
}

func (n *fakeNode) Inspect(path, name string) (attachment.Actual, error) {
	iface, err := n.Interface(path, name)
	n.mu.Lock()
	defer n.mu.Unlock()
	actual := n.actual
	actual.Name = iface.Name
	return actual, err
}

// world is a node with its mesh and the reconciler under test.
type world struct {
	*attachment.Manager
	t       *testing.T
	mesh    *fakeMesh
	node    *fakeNode
	options attachment.Options
}

func newWorld(t *testing.T) *world {
	t.Helper()
	files, err := attachment.NewFiles(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, mesh: newFakeMesh(), node: newFakeNode()}
	w.options = attachment.Options{
		Mesh: w.mesh, Namespaces: w.node, Interfaces: w.node, Store: files, Node: "node-1",
		Log: slog.New(slog.DiscardHandler),
	}
	w.start()
	return w
}

func (w *world) start() {
	w.t.Helper()
	m, err := attachment.New(context.Background(), w.options)
	if err != nil {
		w.t.Fatal(err)
	}
	w.Manager = m
}

// restart is the end of one agent process and the begin of the next.
func (w *world) restart() {
	w.t.Helper()
	w.Stop()
	w.start()
}

// in runs a test in a bubble with its own time.
func in(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { w.Stop() }()
		test(t, w)
	})
}

func namespace(n uint64) netns.ID { return netns.ID{Dev: 4, Ino: 4026532000 + n, Cookie: n} }

func spec(name string, streams ...string) attachment.Spec {
	return attachment.Spec{Name: name, NetworkService: "lb.trench-a", Interface: "nsm-1", Streams: streams, NetNS: namespace(1)}
}

func (w *world) mustAttach(spec attachment.Spec, wait time.Duration) attachment.Attachment {
	w.t.Helper()
	a, err := w.Attach(context.Background(), spec, wait)
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

func (w *world) get(name string) attachment.Attachment {
	w.t.Helper()
	found := w.List(attachment.Filter{Name: name})
	if len(found) != 1 {
		w.t.Fatalf("%d attachments %q", len(found), name)
	}
	return found[0]
}

func wantCondition(t *testing.T, a attachment.Attachment, kind attachment.ConditionType, status attachment.ConditionStatus, reason string) {
	t.Helper()
	if got := a.Condition(kind); got.Status != status || got.Reason != reason {
		t.Errorf("%s is %v, %s (%s); want %v, %s", kind, got.Status, got.Reason, got.Message, status, reason)
	}
}
