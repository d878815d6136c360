// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"context"
	"net/netip"

	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
)

type key struct{}

// lease is what a connection holds of the pool.
type lease struct {
	owner     string
	addresses []netip.Addr
}

func store(ctx context.Context, l lease) { metadata.Map(ctx, false).Store(key{}, l) }

func load(ctx context.Context) (lease, bool) {
	value, ok := metadata.Map(ctx, false).Load(key{})
	l, _ := value.(lease)
	return l, ok
}

func loadAndDelete(ctx context.Context) (lease, bool) {
	value, ok := metadata.Map(ctx, false).LoadAndDelete(key{})
	l, _ := value.(lease)
	return l, ok
}
