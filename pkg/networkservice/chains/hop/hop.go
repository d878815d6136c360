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
	"github.com/weft-project/weft/pkg/networkservice/unheard"
	"github.com/weft-project/weft/pkg/networkservice/vacate"
)

// NewClient returns the chain; elements come between dialling and the call.
func NewClient(name string, pool *dial.Pool, elements ...networkservice.NetworkServiceClient) networkservice.NetworkServiceClient {
	all := []networkservice.NetworkServiceClient{
		updatepath.NewClient(name),
		begin.NewClient(),
		metadata.NewClient(),
		dial.NewClient(pool),
		unheard.NewClient(),
		vacate.NewClient(),
	}
	all = append(all, elements...)
	return chain.NewNetworkServiceClient(append(all, trimpath.NewClient(), connect.NewClient())...)
}

// NewCloser returns the chain that closes what an earlier process has made: it
// knows no connections and dials for each. Where there is no next hop, missing is
// its error; nil when that is as good as closed.
func NewCloser(name string, pool *dial.Pool, missing error, elements ...networkservice.NetworkServiceClient) networkservice.NetworkServiceClient {
	all := []networkservice.NetworkServiceClient{
		updatepath.NewClient(name),
		metadata.NewClient(),
		dial.NewCloser(pool, missing),
	}
	return chain.NewNetworkServiceClient(append(append(all, elements...), connect.NewClient())...)
}
