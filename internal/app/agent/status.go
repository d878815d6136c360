// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weft-project/weft/internal/attachment"
	"github.com/weft-project/weft/internal/workload"
)

var codeOfKind = map[attachment.Kind]codes.Code{
	attachment.Internal:     codes.Internal,
	attachment.Invalid:      codes.InvalidArgument,
	attachment.NotFound:     codes.NotFound,
	attachment.Exists:       codes.AlreadyExists,
	attachment.Denied:       codes.PermissionDenied,
	attachment.Exhausted:    codes.ResourceExhausted,
	attachment.Precondition: codes.FailedPrecondition,
	attachment.Unavailable:  codes.Unavailable,
	attachment.Deadline:     codes.DeadlineExceeded,
}

// toStatus maps every error of both APIs to its gRPC status.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	code := codeOfKind[attachment.KindOf(err)]
	switch {
	case errors.Is(err, context.Canceled):
		code = codes.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		code = codes.DeadlineExceeded
	case errors.Is(err, workload.ErrNoPeer):
		code = codes.Unauthenticated
	}
	return status.Error(code, strings.ReplaceAll(err.Error(), "\n", "; "))
}

func invalid(field, message string) error {
	return &attachment.Error{Kind: attachment.Invalid, Field: field, Message: message}
}
