// SPDX-License-Identifier: Apache-2.0

package attachment

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// Options of a Manager. Mesh, Namespaces, Interfaces, Store and Node are
// needed.
type Options struct {
	Mesh       Mesh
	Namespaces Namespaces
	Interfaces Interfaces
	Store      Store
	// Node is the first part of the targets' names.
	Node string
	Log  *slog.Logger // default: slog.Default()

	// RequestTimeout bounds one Request or Close. Default 10 s.
	RequestTimeout time.Duration
	// RetryMin and RetryMax bound the time between attempts, which doubles
	// with each; what is out of reach is tried again sooner (AwayMax). Defaults
	// 100 ms and 15 s.
	RetryMin, RetryMax time.Duration
	// StableAfter is how long a leg must stand until its next loss counts as
	// the first one. Default 10 s.
	StableAfter time.Duration
	// Lifetime is how long the mesh keeps a connection that was requested and
	// whose answer never came. Default 10 min.
	Lifetime time.Duration
	// Parallel bounds the requests to one endpoint that are under way. Default
	// 8: more at a time do not get done sooner, but each later.
	Parallel int
	// Waiting bounds the callers of Attach that wait; one more is refused at once,
	// because the time of those before would be up. Default 32.
	Waiting int
}

func (o *Options) defaults() {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	defaultTo(&o.RequestTimeout, 10*time.Second)
	defaultTo(&o.RetryMin, 100*time.Millisecond)
	defaultTo(&o.RetryMax, 15*time.Second)
	defaultTo(&o.StableAfter, 10*time.Second)
	defaultTo(&o.Lifetime, 10*time.Minute)
	defaultTo(&o.Parallel, 8)
	defaultTo(&o.Waiting, 32)
}

func defaultTo[T comparable](value *T, fallback T) {
	var zero T
	if *value == zero {
		*value = fallback
	}
}

// Manager keeps attachments in their wanted state.
type Manager struct {
	Options
	ctx    context.Context // ends the goroutines
	cancel context.CancelFunc
	wait   sync.WaitGroup

	mu            sync.Mutex
	stopped       bool
	entries       map[string]*entry
	services      map[string]*service
	subscriptions map[*Subscription]struct{}
	slots         map[string]chan struct{} // by endpoint; one for each request under way
	away          int                      // legs that cannot reach their endpoints
	waiting       int                      // callers of Attach
}

// entry is one attachment. Its fields are guarded by Manager.mu.
type entry struct {
	spec       Spec
	generation int64
	created    time.Time
	target     string
	// removed tells why the attachment is going.
	removed string
	// whole is the generation that is wanted as a whole or not at all, because
	// somebody waits for it; 0 is none.
	whole     int64
	gone      bool // its namespace is
	finishing bool // no leg is left, the record is being deleted
	using     bool // the service
	storing   bool // is being tried again
	unstored  error

	legs       map[string]*leg
	iface      *Interface
	observed   int64
	conditions []Condition
	streams    []Stream
	// changed is closed and replaced at every change.
	changed chan struct{}
	// finished is closed when the attachment is no more.
	finished chan struct{}
	// saving orders the saves of this attachment.
	saving sync.Mutex
}

// New loads the stored attachments and starts to reconcile them.
func New(ctx context.Context, options Options) (*Manager, error) {
	options.defaults()
	records, err := options.Store.Load()
	if err != nil {
		return nil, err
	}
	m := &Manager{
		Options:       options,
		slots:         make(map[string]chan struct{}),
		entries:       make(map[string]*entry),
		services:      make(map[string]*service),
		subscriptions: make(map[*Subscription]struct{}),
	}
	m.ctx, m.cancel = context.WithCancel(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, record := range records {
		m.restore(record)
	}
	for _, e := range m.entries {
		m.reconcile(e)
	}
	m.spawn(m.followMesh)
	return m, nil
}

// Stop ends all reconciling. Connections stay: they are what is wanted.
func (m *Manager) Stop() {
	m.mu.Lock()
	m.stopped = true
	m.mu.Unlock()
	m.cancel()
	m.wait.Wait()
}

// spawn starts a goroutine unless the manager stops. Called with the lock
// held, so that none starts behind Stop's back.
func (m *Manager) spawn(fn func()) {
	if !m.stopped {
		m.wait.Go(fn)
	}
}

func (m *Manager) newEntry(spec Spec, generation int64, created time.Time) *entry {
	return &entry{
		spec: spec, generation: generation, created: created,
		target:   m.Node + "/" + spec.Name,
		legs:     make(map[string]*leg),
		changed:  make(chan struct{}),
		finished: make(chan struct{}),
	}
}

// restore takes an attachment up again that an earlier run has left.
func (m *Manager) restore(record Record) {
	e := m.newEntry(record.Spec, record.Generation, record.Created)
	m.entries[record.Spec.Name] = e
	if record.Removed {
		e.removed = "detaching was interrupted"
	}
	if err := m.Namespaces.Watch(record.Spec.NetNS, record.Spec.Path); err != nil {
		e.gone = true
		e.removed = err.Error()
	}
	if e.removed != "" {
		m.Log.Info("removing attachment", "attachment", e.spec.Name, "reason", e.removed)
	}
	for endpoint, connection := range record.Legs {
		m.startLeg(e, endpoint, connection, true)
	}
	if e.removed == "" {
		m.useService(e)
	}
}

// Attach adds an attachment. With a wait it returns when it is ready, or
// removes it again.
func (m *Manager) Attach(ctx context.Context, spec Spec, wait time.Duration) (Attachment, error) {
	spec = spec.clone()
	if err := errors.Join(spec.normalise(), spec.Validate()); err != nil {
		return Attachment{}, err
	}
	if wait > 0 {
		if err := m.admit(); err != nil {
			return Attachment{}, err
		}
		defer m.dismiss()
	}
	if err := m.Namespaces.Watch(spec.NetNS, spec.Path); err != nil {
		m.Namespaces.Unwatch(spec.NetNS)
		return Attachment{}, &Error{Kind: NotFound, Field: "netns", Message: err.Error()}
	}
	e, err := m.add(spec)
	if err != nil {
		m.Namespaces.Unwatch(spec.NetNS)
		return Attachment{}, err
	}
	if err := m.save(e); err != nil {
		m.drop(e)
		return Attachment{}, err
	}
	m.mu.Lock()
	if wait > 0 {
		e.whole = e.generation
	}
	if e.removed == "" {
		m.useService(e)
	}
	m.reconcile(e)
	now := m.attachment(e)
	m.mu.Unlock()
	m.Log.Info("attaching", "attachment", e.spec.Name, "service", spec.NetworkService, "iface", e.spec.Interface)
	if wait <= 0 {
		return now, nil
	}
	ready, err := m.await(ctx, e, 1, wait)
	if err == nil {
		return ready, nil
	}
	undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.RequestTimeout)
	defer cancel()
	return Attachment{}, errors.Join(err, m.remove(undo, e, "it did not become ready"))
}

// admit lets a caller wait, unless there are too many.
func (m *Manager) admit() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.waiting >= m.Waiting {
		return errorf(Exhausted, "", "the agent is busy with %d attachments that are waited for; nothing was begun, try again later", m.waiting)
	}
	m.waiting++
	return nil
}

func (m *Manager) dismiss() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waiting--
}

// add chooses the names and takes them.
func (m *Manager) add(spec Spec) (*entry, error) {
	path := m.Namespaces.Path(spec.NetNS)
	if spec.Interface != "" {
		if err := m.checkFree(path, spec.Interface); err != nil {
			return nil, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped || m.ctx.Err() != nil {
		return nil, errorf(Unavailable, "", "the agent is stopping")
	}
	for i := 1; spec.Interface == ""; i++ {
		name := fmt.Sprintf("nsm-%d", i)
		if m.checkFree(path, name) == nil && m.checkInterface(spec.NetNS, name) == nil {
			spec.Interface = name
		}
	}
	if err := m.checkInterface(spec.NetNS, spec.Interface); err != nil {
		return nil, err
	}
	if spec.Name == "" {
		spec.Name = defaultName(spec)
	}
	if _, ok := m.entries[spec.Name]; ok {
		return nil, errorf(Exists, "name", "there is an attachment %q already", spec.Name)
	}
	if err := m.checkAddresses(spec); err != nil {
		return nil, err
	}
	e := m.newEntry(spec, 1, time.Now())
	m.entries[spec.Name] = e
	return e, nil
}

// drop takes back what add did.
func (m *Manager) drop(e *entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e.finishing {
		return // its namespace has died meanwhile
	}
	e.finishing = true
	close(e.finished)
	delete(m.entries, e.spec.Name)
	m.Namespaces.Unwatch(e.spec.NetNS)
}

// save stores the attachment as it is now.
func (m *Manager) save(e *entry) error {
	e.saving.Lock()
	defer e.saving.Unlock()
	return m.write(e)
}

// saveAndTell is save, and the attachment says whether it is stored, in the order
// of the saves.
func (m *Manager) saveAndTell(e *entry) error {
	e.saving.Lock()
	defer e.saving.Unlock()
	err := m.write(e)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stored(e, err)
	return err
}

// write is called with saving held.
func (m *Manager) write(e *entry) error {
	m.mu.Lock()
	record := Record{
		Spec: e.spec.clone(), Generation: e.generation, Created: e.created, Removed: e.removed != "",
		Legs: make(map[string]Connection, len(e.legs)),
	}
	legs := slices.Collect(maps.Values(e.legs))
	for endpoint, l := range e.legs {
		record.Legs[endpoint] = l.connection
	}
	finishing := e.finishing
	m.mu.Unlock()
	if finishing {
		return nil
	}
	if err := m.Store.Save(record); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range legs {
		l.noted = true
	}
	return nil
}

// note stores a leg's id before the first request: whatever becomes of that, a
// restart can ask for the same connection or close it. Legs that begin together
// share a save. When it cannot be stored the leg goes on all the same.
func (m *Manager) note(l *leg) {
	e := l.entry
	noted := func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return l.noted
	}
	if noted() {
		return
	}
	e.saving.Lock()
	var err error
	if !noted() {
		err = m.write(e)
	}
	e.saving.Unlock()
	if err != nil {
		m.keep(e)
	}
}
