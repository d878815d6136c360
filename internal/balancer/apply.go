// SPDX-License-Identifier: Apache-2.0

package balancer

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/pkg/dataplane/lb"
)

// Errors of SetConfig: what the replica is too small for.
var (
	// ErrTooManyStreams: the data plane has no stream number left.
	ErrTooManyStreams = errors.New("the replica has no room for another stream")
	// ErrTableSize: a stream's table does not fit the replica, or its targets
	// do not fit the table.
	ErrTableSize = errors.New("table size does not fit")
)

// ErrTooManyFlows says that the data plane has no number for a flow's counters
// left.
var ErrTooManyFlows = errors.New("the replica has no room for another flow")

// watcher is told of streams whose VIPs have changed.
type watcher struct{ fn func(streams []string) }

// Watch has fn called after every SetConfig that gave streams other VIPs, or
// added or removed streams, with their names, until stop is called.
func (b *Balancer) Watch(fn func(streams []string)) (stop func()) {
	w := &watcher{fn}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.watchers[w] = struct{}{}
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.watchers, w)
	}
}

// SetConfig puts a configuration in force. What is the same as before is not
// touched: rules that did not change are not written again, and streams keep
// their tables. On an error the configuration before stays in force.
//
// New streams get their tables before the rules that lead to them, and streams
// that are no more lose theirs after.
func (b *Balancer) SetConfig(ctx context.Context, config Config) error {
	if err := errors.Join(config.Validate(), b.checkTables(&config)); err != nil {
		return err
	}
	b.configMu.Lock()
	defer b.configMu.Unlock()
	before := b.config.Load()
	added, err := b.addStreams(&config)
	if err != nil {
		return err
	}
	err = b.await(ctx, added)
	if err == nil {
		err = b.setRules(before, &config)
	}
	if err == nil {
		err = b.configureGateways(before, &config)
	}
	if err != nil {
		for _, a := range added {
			b.removeStream(a.stream.name)
		}
		return err
	}
	for _, s := range before.Streams {
		if len(config.Undefined([]string{s.Name})) > 0 {
			b.removeStream(s.Name)
		}
	}
	b.changeStreams(&config)
	b.config.Store(&config)
	b.tell(changedStreams(before, &config))
	return nil
}

// checkTables returns which streams' tables are too large for the replica, or
// too small for the targets that they may get.
func (b *Balancer) checkTables(config *Config) error {
	var problems []error
	for _, c := range config.Streams {
		var s stream
		b.shape(&s, c)
		if s.size > b.limits.MaxTableSize {
			problems = append(problems, fmt.Errorf("stream %q: %w: %d slots, the replica has room for %d",
				c.Name, ErrTableSize, s.size, b.limits.MaxTableSize))
		}
		if most := min(s.maxTargets, b.limits.Targets-1); most > int(s.size) {
			problems = append(problems, fmt.Errorf("stream %q: %w: %d slots are too few for %d targets",
				c.Name, ErrTableSize, s.size, most))
		}
	}
	return errors.Join(problems...)
}

// addStreams gives numbers to the streams that are new. All or none get one.
func (b *Balancer) addStreams(config *Config) ([]await, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, ErrClosed
	}
	var added []*stream
	for _, c := range config.Streams {
		if b.streams[c.Name] != nil {
			continue
		}
		s, err := b.newStream(c)
		if err != nil {
			for _, s := range added {
				b.streamID.free(int(s.id))
			}
			return nil, fmt.Errorf("stream %q: %w", c.Name, err)
		}
		added = append(added, s)
	}
	states := make([]await, 0, len(added))
	for _, s := range added {
		b.streams[s.name] = s
		states = append(states, b.touch(s, false))
	}
	b.notify()
	return states, nil
}

// newStream makes a stream with a number of its own. The caller holds the lock.
func (b *Balancer) newStream(c Stream) (*stream, error) {
	id, ok := b.streamID.take()
	if !ok {
		return nil, ErrTooManyStreams
	}
	if err := b.dp.ForgetStream(uint32(id)); err != nil {
		b.streamID.free(id)
		return nil, err
	}
	s := &stream{name: c.Name, id: uint32(id)}
	b.shape(s, c)
	return s, nil
}

func (b *Balancer) shape(s *stream, c Stream) {
	if s.size = c.TableSize; s.size == 0 {
		s.size = b.limits.TableSize
	}
	if s.maxTargets = c.MaxTargets; s.maxTargets == 0 {
		s.maxTargets = DefaultMaxTargets
	}
}

// changeStreams gives the streams the shape the configuration wants.
func (b *Balancer) changeStreams(config *Config) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range config.Streams {
		s := b.streams[c.Name]
		size := s.size
		if b.shape(s, c); s.size != size {
			b.touch(s, false)
		}
	}
	b.notify()
}

// removeStream has a stream's table cleared and then its number freed. Targets
// go on wanting it.
func (b *Balancer) removeStream(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.streams[name]
	delete(b.streams, name)
	s.removed = true
	b.leaving = append(b.leaving, s)
	b.touch(s, false)
	b.notify()
}

// setRules compiles and publishes the rules unless they are in force already.
// A stream or flow that both configurations have kept its number, so that the
// rules are the same when what they are made of is.
func (b *Balancer) setRules(before, config *Config) error {
	if sameRules(before, config) {
		return nil
	}
	numbered, err := b.flows.number(config.Flows)
	if err != nil {
		return err
	}
	rules := lb.Rules{
		VIPs: config.VIPs, NATs: config.NATs, MSSClamp: config.MSSClamp, Affinity: config.Affinity,
		Flows: make([]classify.Rule, len(config.Flows)),
	}
	b.mu.Lock()
	for i, f := range config.Flows {
		rules.Flows[i] = f.Rule
		rules.Flows[i].Stream = b.streams[f.Stream].id
		rules.Flows[i].Flow = numbered.ids[f.Rule.Name]
	}
	b.mu.Unlock()
	if err := b.dp.SetRules(rules); err != nil {
		return fmt.Errorf("write rules: %w", err)
	}
	b.forgetFlows(numbered)
	b.flows = numbered
	states := numbered.states(config.Flows)
	b.mu.Lock()
	b.flowStates = states
	b.notify()
	b.mu.Unlock()
	return nil
}

// forgetFlows lets the counters of new flows begin anew; not before the rules are
// in force, because the number may be that of a flow that goes with them.
func (b *Balancer) forgetFlows(numbered flowNumbers) {
	for name, id := range numbered.ids {
		if _, kept := b.flows.ids[name]; kept {
			continue
		}
		if err := b.dp.ForgetFlow(id); err != nil {
			b.log.Warn("flow keeps the counters of another", "flow", name, "err", err)
		}
	}
}

// sameRules compares everything that lb.Rules is made of.
func sameRules(a, b *Config) bool {
	return a.MSSClamp == b.MSSClamp && a.Affinity == b.Affinity &&
		reflect.DeepEqual(a.VIPs, b.VIPs) && reflect.DeepEqual(a.NATs, b.NATs) && reflect.DeepEqual(a.Flows, b.Flows)
}

// changedStreams names the streams that came, went, or have other VIPs.
func changedStreams(before, after *Config) []string {
	var changed []string
	for _, s := range before.Streams {
		if len(after.Undefined([]string{s.Name})) > 0 {
			changed = append(changed, s.Name)
		}
	}
	for _, s := range after.Streams {
		if len(before.Undefined([]string{s.Name})) > 0 ||
			!slices.Equal(before.StreamVIPs(s.Name), after.StreamVIPs(s.Name)) {
			changed = append(changed, s.Name)
		}
	}
	return changed
}

func (b *Balancer) tell(streams []string) {
	if len(streams) == 0 {
		return
	}
	b.mu.Lock()
	watchers := make([]*watcher, 0, len(b.watchers))
	for w := range b.watchers {
		watchers = append(watchers, w)
	}
	b.mu.Unlock()
	for _, w := range watchers {
		w.fn(streams)
	}
}
