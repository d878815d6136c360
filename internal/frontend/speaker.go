// SPDX-License-Identifier: Apache-2.0

package frontend

import "context"

// Speaker is a running frontend, in this process or in one of its own. Its
// methods may be called by any goroutine at any time.
type Speaker interface {
	// Set replaces what the frontend is to do. Only what differs changes. A Config
	// that is refused (Config.Validate) changes nothing; what the world outside
	// does not allow yet is no error, but told by Status.
	Set(context.Context, Config) error
	// Status returns the present state.
	Status() Status
	// Watch calls fn with the present state and after every change until ctx ends,
	// one call at a time. States that follow each other fast may be left out, the
	// last one never.
	Watch(ctx context.Context, fn func(Status)) error
	// Close withdraws everything and ends the frontend.
	Close(context.Context) error
}
