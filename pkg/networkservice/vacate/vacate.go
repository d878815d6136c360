// SPDX-License-Identifier: Apache-2.0

package vacate

import (
	"context"
	"slices"

	"google.golang.org/grpc/metadata"
)

const (
	header = "weft-vacated"
	left   = "1"
)

type key struct{}

// With returns a context for Close that says whether the connection has left its
// addresses. Whoever puts the addresses on the client's interface calls it in
// every Close: what the client says about that does not count.
func With(ctx context.Context, vacated bool) context.Context {
	return context.WithValue(ctx, key{}, vacated)
}

// Vacated reports whether the connection that is closed in ctx has left its
// addresses. What nobody has said is not true: then they wait for the end of the
// lease.
func Vacated(ctx context.Context) bool {
	if vacated, ok := ctx.Value(key{}).(bool); ok {
		return vacated
	}
	incoming, _ := metadata.FromIncomingContext(ctx)
	return slices.Equal(incoming.Get(header), []string{left})
}
