// SPDX-License-Identifier: Apache-2.0

package hop

import (
	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/begin"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/connect"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/trimpath"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/updatepath"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"

	"github.com/weft-project/weft/pkg/networkservice/dial"
	"github.com/weft-project/weft/pkg/networkservice/vacate"
)

// NewClient returns the chain; elements come between dialling and the call.
func NewClient(name string, pool *dial.Pool, elements ...networkservice.NetworkServiceClient) networkservice.NetworkServiceClient {
	all := []networkservice.NetworkServiceClient{
		updatepath.NewClient(name),
		begin.NewClient(),
		metadata.NewClient(),
		dial.NewClient(pool),
		vacate.NewClient(),
	}
	all = append(all, elements...)
	return chain.NewNetworkServiceClient(append(all, trimpath.NewClient(), connect.NewClient())...)
}
