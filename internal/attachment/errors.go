// SPDX-License-Identifier: Apache-2.0

package attachment

import (
	"errors"
	"fmt"
)

// Kind classifies an error by what the caller can do about it.
type Kind int

// The kinds of errors.
const (
	Internal     Kind = iota // none of the others; retried
	Invalid                  // the request is wrong whatever the state
	NotFound                 // what the request names does not exist
	Exists                   // what the request wants is taken
	Denied                   // the caller may not
	Exhausted                // no more of it fits
	Precondition             // the request is right but not now
	Unavailable              // somebody needed is away; retried
	Deadline                 // it did not happen in time
)

// Error says what is wrong with which field.
type Error struct {
	Kind    Kind
	Field   string // of the specification, empty when it is about none
	Message string
}

func (e *Error) Error() string {
	if e.Field == "" {
		return e.Message
	}
	return e.Field + ": " + e.Message
}

func errorf(kind Kind, field, format string, args ...any) *Error {
	return &Error{Kind: kind, Field: field, Message: fmt.Sprintf(format, args...)}
}

// KindOf returns the kind of the first *Error in err's tree.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Internal
}

// refused tells a decision of the endpoint from a failure to reach it.
func refused(err error) bool {
	switch KindOf(err) {
	case Invalid, NotFound, Exists, Denied, Exhausted, Precondition:
		return true
	default:
		return false
	}
}
