// SPDX-License-Identifier: Apache-2.0

package test

import (
	"time"

	"github.com/weft-project/weft/internal/cluster"
)

// pendingFaults do not hold yet, with the reason. WEFT_TEST_PENDING=1 runs them.
var pendingFaults = map[string]string{}

var faults = []fault{
	{name: "nothing", inject: func(b *bed) { b.window(time.Second) }},
	{name: "kill -9 of the forwarders", inject: restart(cluster.Forwarder)},
	{name: "kill -9 of the agents", inject: restart(cluster.Agent)},
	{name: "kill -9 of the nsmgrs", inject: restart(cluster.Manager)},
	{name: "kill -9 of the registry", inject: restart(cluster.Registry)},
	{name: "kill -9 of all at once", inject: restart(cluster.Registry, cluster.Manager, cluster.Forwarder, cluster.Agent)},
}

// down is how long what was killed stays away.
const down = 500 * time.Millisecond

// restart kills components on every node at once and starts them again.
func restart(components ...string) func(b *bed) {
	return func(b *bed) {
		var all []*cluster.Process
		for _, n := range b.Nodes {
			for _, component := range components {
				if p := n.Processes[component]; p != nil {
					all = append(all, p)
				}
			}
		}
		must(b.t, cluster.Kill(all...))
		b.window(down)
		must(b.t, cluster.Restart(b.ctx, all...))
	}
}
