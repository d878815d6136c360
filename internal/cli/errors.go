// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weft-project/weft/internal/resource"
	daemonv1 "github.com/weft-project/weft/pkg/api/daemon/v1"
)

// Exit codes.
const (
	ExitOK    = 0
	ExitError = 1
	// ExitUsage is a command line that cannot be understood.
	ExitUsage = 2
)

// UsageError is a command line that cannot be understood.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }

func (e *UsageError) Unwrap() error { return e.Err }

// Usagef returns a UsageError.
func Usagef(format string, args ...any) error { return &UsageError{Err: fmt.Errorf(format, args...)} }

// PrintError tells an error and returns the exit code. Problems of manifests
// are one line each; everything else is one sentence.
func PrintError(w io.Writer, name string, err error) int {
	code := ExitError
	text := fmt.Sprintf("%s: %s\n", name, Sentence(err))
	if list := ProblemsOf(err); len(list) > 0 {
		text = fmt.Sprintf("%s\n%s: %s; nothing was changed\n", list.Error(), name, count(len(list), "problem"))
	} else if usage := new(UsageError); errors.As(err, &usage) {
		code = ExitUsage
	}
	_, _ = io.WriteString(w, text) // there is nobody left to tell
	return code
}

// PrintWarnings writes warnings, one per line.
func PrintWarnings(w io.Writer, list resource.Problems) error {
	for _, p := range list {
		if _, err := fmt.Fprintln(w, p); err != nil {
			return err
		}
	}
	return nil
}

// ProblemsOf returns the problems of manifests that an error carries, by itself
// or as a detail of its gRPC status.
func ProblemsOf(err error) resource.Problems {
	var list resource.Problems
	if errors.As(err, &list) {
		return list
	}
	for _, d := range status.Convert(err).Details() {
		if p, ok := d.(*daemonv1.Problems); ok {
			return Problems(p.GetProblems(), false)
		}
	}
	return nil
}

// Problems converts problems as they travel.
func Problems(in []*daemonv1.Problem, warning bool) resource.Problems {
	var out resource.Problems
	for _, p := range in {
		o := p.GetObject()
		out = append(out, resource.Problem{
			File: p.GetFile(), Line: int(p.GetLine()), Field: p.GetField(), Reason: p.GetReason(), Warning: warning,
			Key: resource.Key{Kind: o.GetKind(), Namespace: o.GetNamespace(), Name: o.GetName()},
		})
	}
	return out
}

// Sentence renders an error for people: of a gRPC status only what the server
// said, and what the bare codes mean where it said nothing.
func Sentence(err error) string {
	st, ok := status.FromError(err)
	if !ok {
		return err.Error()
	}
	message := strings.TrimSpace(st.Message())
	switch st.Code() {
	case codes.DeadlineExceeded:
		return "no answer in time (--timeout): " + message
	case codes.Canceled:
		return "interrupted"
	case codes.Unimplemented:
		return "this socket does not offer that (" + message + "); is it the right one?"
	case codes.Unavailable:
		return "the connection was lost: " + message
	case codes.Internal, codes.Unknown:
		return "the daemon met an error of its own: " + message
	}
	if message == "" {
		return st.Code().String()
	}
	return message
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
