// SPDX-License-Identifier: Apache-2.0

package test

import (
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/weft-project/weft/internal/cluster"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
)

// Faults of networks.

// cut is how long something is cut off: longer than any detection.
const cut = 3 * time.Second

func workloadLink(b *bed) {
	withHandle(b.t, b.workloads[3].NetNS, func(h *nl.Handle) {
		link, err := h.LinkByName(nic)
		must(b.t, err)
		must(b.t, h.SetDown(link.Index))
		b.wait(time.Second)
		must(b.t, h.SetUp(link.Index))
	})
	b.reach(webPort, b.workloads...)
}

func nodeLink(b *bed) {
	node := b.Nodes[2]
	must(b.t, node.LinkDown())
	b.wait(cut)
	must(b.t, node.LinkUp())
	b.reach(webPort, b.workloads...)
}

func partition(b *bed) {
	must(b.t, b.Partition(b.Nodes[0], b.Nodes[1]))
	b.wait(cut)
	must(b.t, b.Heal(b.Nodes[0], b.Nodes[1]))
	b.reach(webPort, b.workloads...)
}

// lossy drops some of what every node receives from the others.
func lossy(b *bed) {
	testutil.Require(b.t, "nft")
	const rules = `table netdev weft { chain loss { type filter hook ingress device "eth0" priority 0; numgen random mod 100 < 2 drop; }; }`
	for _, n := range b.Nodes {
		nft(b, n, rules)
	}
	b.wait(cut)
	for _, n := range b.Nodes {
		nft(b, n, "delete table netdev weft")
	}
}

func nft(b *bed, n *cluster.Node, rules string) {
	b.t.Helper()
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	var errs strings.Builder
	cmd.Stderr = &errs
	must(b.t, n.Inside(cmd.Start))
	if err := cmd.Wait(); err != nil {
		b.t.Fatal(fmt.Errorf("nft on %s: %w: %s", n.Name, err, errs.String()))
	}
}

// keyAge is how old keys get where their rotation is the fault.
const keyAge = 2 * time.Second

// rotate waits until there are new keys and has every workload's connections use
// them.
func rotate(b *bed) {
	b.wait(2 * keyAge)
	for _, w := range b.workloads {
		must(b.t, w.Update(b.ctx, nic, []string{"api"}, nil))
		must(b.t, w.Update(b.ctx, nic, nil, []string{"api"}))
	}
	b.wait(2 * keyAge)
}

// nodeDies takes a node without load balancer away with all that is on it, for
// good.
func nodeDies(b *bed) {
	node := b.Nodes[2]
	must(b.t, node.LinkDown())
	must(b.t, cluster.Kill(node.Running()...))
	must(b.t, b.workloads[2].Die())
}
