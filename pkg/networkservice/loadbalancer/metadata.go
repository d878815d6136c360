// SPDX-License-Identifier: Apache-2.0

package loadbalancer

import (
	"context"

	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"

	"github.com/weft-project/weft/internal/balancer"
)

type key struct{}

// storeTarget notes what the connection has registered.
func storeTarget(ctx context.Context, target balancer.Target) {
	metadata.Map(ctx, false).Store(key{}, target)
}

func loadTarget(ctx context.Context) (balancer.Target, bool) {
	value, ok := metadata.Map(ctx, false).Load(key{})
	target, _ := value.(balancer.Target)
	return target, ok
}

func deleteTarget(ctx context.Context) { metadata.Map(ctx, false).Delete(key{}) }
