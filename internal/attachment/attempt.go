// SPDX-License-Identifier: Apache-2.0

package attachment

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// attempt is one turn of a leg towards a specification.
type attempt struct {
	leg        *leg
	spec       Spec
	whole      bool // the specification as a whole or not at all
	connection Connection
	joined     []string
	refusals   map[string]error
	made       bool // there is a connection
	succeeded  bool // the last request was granted
	unsure     bool // what became of the last request is not known
}

// errUnwanted says that the leg was to be closed before its request had a turn.
var errUnwanted = errors.New("not wanted any more")

// do requests everything at once. When the endpoint refuses that, it finds out
// which streams are the reason, so that one wrong stream does not keep the
// workload out of the right ones; unless somebody waits for the whole, whom a
// refusal must not leave with a part of it. The error is the first refusal, or why the
// endpoint could not be asked.
func (a *attempt) do(ctx context.Context) error {
	err := a.try(ctx, a.spec.Streams)
	if err == nil || !refused(err) || len(a.spec.Streams) == 0 || a.whole {
		return err
	}
	kept := intersect(a.joined, a.spec.Streams)
	if len(a.spec.Streams) == 1 && len(kept) == 0 && !a.made {
		a.refuse(a.spec.Streams[0], err)
		return err
	}
	if a.made && len(kept) != len(a.joined) {
		// Leaving streams does not depend on the new ones.
		if err := a.try(ctx, kept); err != nil {
			return err
		}
	}
	for _, stream := range a.spec.Streams {
		if slices.Contains(a.joined, stream) {
			continue
		}
		streamErr := a.try(ctx, sortedWith(a.joined, stream))
		if streamErr == nil {
			continue
		}
		if !refused(streamErr) {
			return streamErr
		}
		a.refuse(stream, streamErr)
	}
	if len(a.refusals) == 0 {
		return nil // one by one it went: the endpoint has changed meanwhile
	}
	if a.made && !a.succeeded {
		// Whoever saw the refusal on the way may hold the connection for lost
		// though it stands as before; this tells them.
		if confirmErr := a.try(ctx, a.joined); confirmErr != nil {
			return confirmErr
		}
	}
	return err
}

func (a *attempt) refuse(stream string, err error) {
	if a.refusals == nil {
		a.refusals = make(map[string]error)
	}
	a.refusals[stream] = err
}

func (a *attempt) try(ctx context.Context, streams []string) error {
	request := a.leg.request(a.spec, a.connection, streams)
	err := a.leg.m.inSlot(ctx, a.leg.endpoint, func(ctx context.Context) error {
		if a.leg.unwanted() {
			return errUnwanted
		}
		connection, err := a.leg.m.Mesh.Request(ctx, request)
		if err == nil {
			a.connection = connection
		}
		a.unsure = err != nil && !refused(err)
		return err
	})
	if a.succeeded = err == nil; !a.succeeded {
		return fmt.Errorf("endpoint %s: %w", a.leg.endpoint, err)
	}
	a.made, a.joined = true, slices.Clone(streams)
	return nil
}

func intersect(a, b []string) []string {
	var both []string
	for _, s := range a {
		if slices.Contains(b, s) {
			both = append(both, s)
		}
	}
	return both
}

func sortedWith(streams []string, stream string) []string {
	return slices.Sorted(slices.Values(append(slices.Clone(streams), stream)))
}
