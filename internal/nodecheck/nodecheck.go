// SPDX-License-Identifier: Apache-2.0

// Package nodecheck compares what a node should be with what it is. Each part of
// the node compares its own: it is a Checker. The server puts them together.
package nodecheck

import (
	"cmp"
	"context"
	"fmt"
	"slices"
)

// Severity tells how bad a finding is.
type Severity int

// The severities.
const (
	Note    Severity = iota + 1 // odd, and harms nobody
	Warning                     // may harm later
	Error                       // keeps traffic from where it should go
)

// KindUnchecked is the kind of a finding that says that a part could not be
// compared.
const KindUnchecked = "unchecked"

// Finding is one difference.
type Finding struct {
	Kind     string // what differs, a stable name
	Severity Severity
	Object   string // for example "attachment web/nsm-1"
	// Wanted, Recorded and Actual are empty where that means nothing.
	Wanted, Recorded, Actual string
	Repaired                 bool
	Message                  string
}

// Checker compares one part of a node, and mends it if told.
type Checker interface {
	Check(ctx context.Context, repair bool) ([]Finding, error)
}

// Part is a Checker with a name.
type Part struct {
	Name string
	Checker
}

// All compares all parts, one after another in their order: what the later ones
// find may be mended by the earlier ones. A part that fails is a finding. The
// findings are sorted by object.
func All(ctx context.Context, repair bool, parts ...Part) []Finding {
	var all []Finding
	for _, part := range parts {
		findings, err := part.Check(ctx, repair)
		all = append(all, findings...)
		if err != nil {
			all = append(all, Finding{
				Kind: KindUnchecked, Severity: Warning, Object: part.Name,
				Message: fmt.Sprintf("%s could not be checked: %v", part.Name, err),
			})
		}
	}
	slices.SortStableFunc(all, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Object, b.Object), cmp.Compare(a.Kind, b.Kind))
	})
	return all
}
