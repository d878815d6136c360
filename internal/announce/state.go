// SPDX-License-Identifier: Apache-2.0

package announce

import "github.com/weft-project/weft/internal/frontend"

// State is everything that there is to say about the frontend of one replica.
type State struct {
	Replica, Trench, Conduit string
	Attractor                string // "": the conduit has none
	NetNS, Interface         string
	Table                    int
	// Problem is what keeps the frontend from doing anything; "": nothing.
	Problem string
	// Static says that no gateway needs a session, so that none is spoken to.
	Static   bool
	Status   frontend.Status
	Withheld map[string]string // gateways that are not spoken to, and why
	VIPs     []Decision
}
