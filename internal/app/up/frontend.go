// SPDX-License-Identifier: Apache-2.0

package up

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/weft-project/weft/internal/announce"
	"github.com/weft-project/weft/internal/app/endpoint"
	"github.com/weft-project/weft/internal/resource/compile"
	"github.com/weft-project/weft/internal/selfexec"
)

// reportPause bounds how often conditions are written.
const reportPause = 50 * time.Millisecond

// reportFrontend makes what the replica's frontend does, with those of the other
// replicas of its conduit, the conditions of the attractor, its gateways and VIPs,
// until ctx ends.
func (e *Endpoint) reportFrontend(ctx context.Context) {
	news, cancel := e.stack.store.Subscribe()
	defer cancel()
	for {
		var changed <-chan struct{}
		if c := e.Component(); c != nil {
			changed = c.FrontendChanged()
		}
		snapshot := e.stack.store.Snapshot()
		trench, conduit := e.replica.Trench, e.replica.Conduit
		e.stack.store.Observe(snapshot, announce.Conditions(snapshot, trench, conduit, e.stack.frontendsOf(trench, conduit)))
		select {
		case <-ctx.Done():
			return
		case <-time.After(reportPause):
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-e.told:
		case <-news:
		}
	}
}

// frontendsOf returns the frontends of a conduit's replicas.
func (s *Stack) frontendsOf(trench, conduit string) []announce.State {
	return slices.DeleteFunc(s.frontends(), func(st announce.State) bool { return st.Trench != trench || st.Conduit != conduit })
}

// frontends returns those that run, for weft frontend show.
func (s *Stack) frontends() []announce.State {
	s.mu.Lock()
	running := slices.Clone(s.replicas)
	s.mu.Unlock()
	list := make([]announce.State, 0, len(running))
	for _, e := range running {
		list = append(list, e.frontend())
	}
	return list
}

// frontend returns the state of the replica's frontend, which has one also while
// its external interface is missing.
func (e *Endpoint) frontend() announce.State {
	state := announce.State{
		Replica: e.replica.Name, Trench: e.replica.Trench, Conduit: e.replica.Conduit,
		NetNS: e.replica.NetNS, Interface: e.replica.Interface, Table: compile.Table(e.replica.Name),
	}
	if c := e.Component(); c != nil {
		state = c.Frontend()
	}
	if e.outside == nil {
		return state
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	state.Attractor, state.Interface = e.outside.spec.Attractor, e.outside.spec.Name
	if e.outside.problem != "" {
		state.Problem = e.outside.problem
	}
	return state
}

// frontendSockets returns the control sockets of frontends' processes, which may
// have ended.
func (c Config) frontendSockets() []string {
	paths, _ := filepath.Glob(filepath.Join(c.RunDir, endpoint.FrontendPrefix+"*.sock")) // the pattern is good
	return paths
}

// endFrontend ends a frontend's process, which withdraws what it announces, and
// removes its files.
func endFrontend(socket string) error {
	if p, err := selfexec.Attach(socket); err == nil {
		if err := p.End(); err != nil {
			return fmt.Errorf("end frontend %s: %w", socket, err)
		}
	}
	for _, path := range []string{socket, socket + ".lock"} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
