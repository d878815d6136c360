// SPDX-License-Identifier: Apache-2.0

package up

import (
	"context"
	"errors"

	"github.com/weft-project/weft/internal/nodecheck"
)

// checkers are the parts of the host beside the agent: what is made first is
// compared first.
func (s *Stack) checkers() []nodecheck.Part {
	return []nodecheck.Part{s.forwarder.CheckPart(), {Name: "endpoints", Checker: replicas{s}}}
}

// replicas are those that run at the time.
type replicas struct{ *Stack }

// Check implements nodecheck.Checker.
func (r replicas) Check(ctx context.Context, repair bool) (found []nodecheck.Finding, err error) {
	var errs []error
	for _, c := range r.active() {
		findings, err := c.CheckPart().Check(ctx, repair)
		found, errs = append(found, findings...), append(errs, err)
	}
	return found, errors.Join(errs...)
}
