// SPDX-License-Identifier: Apache-2.0

package test

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/weft-project/weft/internal/cluster"
	"github.com/weft-project/weft/internal/nl"
)

// kernelState counts what a fault could leave behind, by where it is.
type kernelState map[string]int

// kernelState counts the interfaces, addresses, routes and rules of every
// namespace, what is pinned on every node, and the descriptors of every process
// that lives.
func (b *bed) kernelState() kernelState {
	b.t.Helper()
	found := kernelState{}
	for _, n := range b.Nodes {
		found.namespace(b, n.Name, n.NetNS)
		pins := 0
		_ = filepath.WalkDir(n.PinDir(), func(_ string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() {
				pins++
			}
			return nil
		})
		found[n.Name+" pins"] = pins
	}
	for _, r := range b.replicas {
		if r.Alive() {
			found.namespace(b, r.Name, r.NetNS)
		}
	}
	for _, w := range b.living() {
		found.namespace(b, w.Name, w.NetNS)
	}
	for _, p := range b.Processes() {
		if slices.ContainsFunc(b.workloads, func(w *cluster.Workload) bool { return w.Process == p }) {
			continue // a server has as many as there are connections to it
		}
		if entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.PID())); err == nil && p.Alive() {
			found[fmt.Sprintf("%s (%d) descriptors", p.Name, p.PID())] = len(entries)
		}
	}
	return found
}

func (k kernelState) namespace(b *bed, name, path string) {
	withHandle(b.t, path, func(h *nl.Handle) {
		links, err := h.Links()
		must(b.t, err)
		k[name+" links"] = len(links)
		for _, l := range links {
			addresses, err := h.Addresses(l.Index)
			must(b.t, err)
			k[name+" addresses"] += len(addresses)
		}
		k[name+" routes and rules"] = len(routing(b.t, h))
	})
}

// descriptorSlack is for gRPC connections that come and go.
const descriptorSlack = 16

// growth lists what there is more of than before.
func (k kernelState) growth(before kernelState) (found []string) {
	for _, what := range slices.Sorted(maps.Keys(k)) {
		was, known := before[what]
		slack := 0
		if strings.HasSuffix(what, " descriptors") {
			if slack = descriptorSlack; !known {
				continue // a process that was not there before
			}
		}
		if k[what] > was+slack {
			found = append(found, fmt.Sprintf("%s %d, %d before", what, k[what], was))
		}
	}
	return found
}
