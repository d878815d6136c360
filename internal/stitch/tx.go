// SPDX-License-Identifier: Apache-2.0

package stitch

import (
	"errors"
	"slices"

	"github.com/weft-project/weft/internal/nl"
)

// tx collects how to take back the changes of a call that may fail half way.
type tx struct {
	hook   func(step string) error
	plan   func(step string) // gets the steps instead of their being made
	undo   []func() error
	commit []func()
}

// do makes one change. The inverse runs if a later one fails; it may be nil.
// What is there already (or gone already) is no error, and then it is not
// ours to take back.
func (t *tx) do(step string, change, inverse func() error) error {
	if t.plan != nil {
		t.plan(step)
		return nil
	}
	if t.hook != nil {
		if err := t.hook(step); err != nil {
			return err
		}
	}
	err := change()
	switch {
	case errors.Is(err, nl.ErrExists), errors.Is(err, nl.ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	t.revert(inverse)
	return nil
}

// must is do for changes whose absence or presence is an error.
func (t *tx) must(step string, change, inverse func() error) error {
	if t.plan != nil {
		t.plan(step)
		return nil
	}
	if t.hook != nil {
		if err := t.hook(step); err != nil {
			return err
		}
	}
	if err := change(); err != nil {
		return err
	}
	t.revert(inverse)
	return nil
}

// revert adds an inverse.
func (t *tx) revert(inverse func() error) {
	if inverse != nil {
		t.undo = append(t.undo, inverse)
	}
}

// restore takes a variable back to its present value on failure.
func restore[T any](t *tx, variable *T) {
	old := *variable
	t.revert(func() error { *variable = old; return nil })
}

// after runs fn when all has succeeded.
func (t *tx) after(fn func()) { t.commit = append(t.commit, fn) }

// undoAll takes everything back that a plan has noted, and returns err.
func (t *tx) undoAll(err error) error {
	for _, inverse := range slices.Backward(t.undo) {
		if undo := inverse(); err == nil {
			err = undo
		}
	}
	return err
}

// end finishes the transaction: err is the call's.
func (t *tx) end(err error) error {
	if err == nil {
		for _, fn := range t.commit {
			fn()
		}
		return nil
	}
	errs := []error{err}
	for _, inverse := range slices.Backward(t.undo) {
		if err := inverse(); err != nil && !errors.Is(err, nl.ErrNotFound) && !errors.Is(err, nl.ErrExists) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
