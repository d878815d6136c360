// SPDX-License-Identifier: Apache-2.0

package balancer

import (
	"errors"
	"fmt"

	"github.com/weft-project/weft/internal/maglev"
)

// Errors of Register that do not depend on a stream.
var (
	// ErrTooManyTargets: the data plane has no target number left.
	ErrTooManyTargets = errors.New("the replica has no room for another target")
	// ErrInterfaceTaken: another connection has the leg interface.
	ErrInterfaceTaken = errors.New("leg interface is taken by another connection")
	// ErrWeight: the weight of a target is out of range.
	ErrWeight = maglev.ErrWeight
	// ErrClosed says that the balancer has been closed.
	ErrClosed = errors.New("balancer is closed")
)

// UnknownStreamError says that a target asks for a stream that is not configured.
type UnknownStreamError struct{ Stream string }

func (e *UnknownStreamError) Error() string { return fmt.Sprintf("unknown stream %q", e.Stream) }

// MaxTargetsError says that a stream has as many targets as it may have.
type MaxTargetsError struct {
	Stream string
	Max    int
}

func (e *MaxTargetsError) Error() string {
	return fmt.Sprintf("stream %q has its maximum of %d targets", e.Stream, e.Max)
}
