// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"context"

	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
)

type key struct{}

// store notes that the connection is a user of the pool.
func store(ctx context.Context) { metadata.Map(ctx, false).Store(key{}, struct{}{}) }

func loadAndDelete(ctx context.Context) bool {
	_, ok := metadata.Map(ctx, false).LoadAndDelete(key{})
	return ok
}
