// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/networkservicemesh/api/pkg/api/registry"
)

const (
	watchRetryMin = 100 * time.Millisecond
	watchRetryMax = 500 * time.Millisecond

	// The registry is listed again soon after the watch was asked for, because
	// nothing tells when the watch stands and what it missed until then, and
	// from time to time.
	firstList = time.Second
	nextList  = time.Minute
)

// Endpoints calls changed with the sorted names of the endpoints of a network
// service, at first and after each change, until ctx ends. An endpoint leaves
// when the registry says so. One that is merely missing when the registry is
// reached again, or at first though the caller knows it, leaves after
// MissingGrace.
func (c *Client) Endpoints(ctx context.Context, service string, known []string, changed func([]string)) {
	w := &endpointWatch{client: c, service: service, changed: changed, missing: make(map[string]time.Time)}
	for _, name := range known {
		w.missing[name] = time.Time{}
	}
	for pause := watchRetryMin; ; pause = min(2*pause, watchRetryMax) {
		if w.follow(ctx) {
			pause = watchRetryMin
		}
		timer := time.NewTimer(time.Duration(float64(pause) * (0.8 + 0.4*rand.Float64())))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

type endpointWatch struct {
	client  *Client
	service string
	changed func([]string)
	// missing has all endpoints; those that the registry does not list with
	// the time since.
	missing map[string]time.Time
	told    []string
	first   bool // told something
}

type endpointEvent struct {
	response *registry.NetworkServiceEndpointResponse
	err      error
}

// follow reports whether the registry was reached; it returns when it is lost.
func (w *endpointWatch) follow(ctx context.Context) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := w.client.endpoints.Find(ctx, w.query(true))
	if err != nil {
		return false
	}
	events := make(chan endpointEvent)
	go func() {
		for {
			response, err := stream.Recv()
			select {
			case events <- endpointEvent{response, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	listed, err := w.list(ctx)
	if err != nil {
		return false
	}
	w.reset(listed, time.Now())
	again := time.NewTimer(firstList)
	defer again.Stop()
	for {
		w.tell()
		select {
		case <-ctx.Done():
			return true
		case event := <-events:
			if event.err != nil {
				return true
			}
			w.apply(event.response)
		case now := <-again.C:
			if listed, err := w.list(ctx); err == nil {
				w.reset(listed, now)
			}
			again.Reset(nextList)
		case now := <-w.expiry():
			w.expire(now)
		}
	}
}

func (w *endpointWatch) query(watch bool) *registry.NetworkServiceEndpointQuery {
	return &registry.NetworkServiceEndpointQuery{
		NetworkServiceEndpoint: &registry.NetworkServiceEndpoint{NetworkServiceNames: []string{w.service}},
		Watch:                  watch,
	}
}

func (w *endpointWatch) list(ctx context.Context) ([]string, error) {
	stream, err := w.client.endpoints.Find(ctx, w.query(false))
	if err != nil {
		return nil, fmt.Errorf("list endpoints of %s: %w", w.service, err)
	}
	var names []string
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return names, nil
		}
		if err != nil {
			return nil, fmt.Errorf("list endpoints of %s: %w", w.service, err)
		}
		names = append(names, response.GetNetworkServiceEndpoint().GetName())
	}
}

// reset compares with a whole list.
func (w *endpointWatch) reset(listed []string, now time.Time) {
	for name, since := range w.missing {
		if !slices.Contains(listed, name) && since.IsZero() {
			w.missing[name] = now
		}
	}
	for _, name := range listed {
		w.missing[name] = time.Time{}
	}
}

func (w *endpointWatch) apply(response *registry.NetworkServiceEndpointResponse) {
	endpoint := response.GetNetworkServiceEndpoint()
	switch {
	case response.GetDeleted():
		delete(w.missing, endpoint.GetName())
	case slices.Contains(endpoint.GetNetworkServiceNames(), w.service):
		w.missing[endpoint.GetName()] = time.Time{}
	}
}

// expiry fires when the next missing endpoint's grace is over.
func (w *endpointWatch) expiry() <-chan time.Time {
	var first time.Time
	for _, since := range w.missing {
		if !since.IsZero() && (first.IsZero() || since.Before(first)) {
			first = since
		}
	}
	if first.IsZero() {
		return nil
	}
	return time.After(time.Until(first.Add(w.client.missingGrace)))
}

func (w *endpointWatch) expire(now time.Time) {
	maps.DeleteFunc(w.missing, func(_ string, since time.Time) bool {
		return !since.IsZero() && !now.Before(since.Add(w.client.missingGrace))
	})
}

func (w *endpointWatch) tell() {
	names := slices.Sorted(maps.Keys(w.missing))
	if w.first && slices.Equal(names, w.told) {
		return
	}
	w.first, w.told = true, names
	w.changed(names)
}
