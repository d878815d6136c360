// SPDX-License-Identifier: Apache-2.0

package kernelmech

import (
	"context"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
)

type key struct{}

// Endpoint returns the mechanism that the endpoint of the connection chose, nil
// before it did.
func Endpoint(ctx context.Context) *networkservice.Mechanism {
	m, _ := load(ctx)
	return m
}

func load(ctx context.Context) (*networkservice.Mechanism, bool) {
	value, ok := metadata.Map(ctx, true).Load(key{})
	if !ok {
		return nil, false
	}
	m, ok := value.(*networkservice.Mechanism)
	return m, ok
}

func store(ctx context.Context, m *networkservice.Mechanism) { metadata.Map(ctx, true).Store(key{}, m) }

func remove(ctx context.Context) { metadata.Map(ctx, true).Delete(key{}) }
