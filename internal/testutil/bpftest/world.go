// SPDX-License-Identifier: Apache-2.0

package bpftest

import (
	"github.com/weft-project/weft/internal/classify/model"
	"github.com/weft-project/weft/internal/packet"
)

// World makes a set of n rules and the tables and targets around it. Streams are
// 0 to streams-1, targets 1 to targets-1; some streams have no table, as has the
// last, and tables have slots without target and of targets that there are not.
func (r *Random) World(n, streams, targets int, mac packet.MAC) model.World {
	w := model.World{
		Set: r.Set(n, streams), Tables: make(map[uint32][]uint16), Targets: make(map[uint16]model.Target),
		MAC: mac, SlowPath: true, Fragments: make(model.Fragments),
	}
	for p := 0.9; r.pick(p); {
		hop := r.client(r.pick(0.5))
		if w.Gateways4 = append(w.Gateways4, hop); hop.Is6() && r.pick(0.7) {
			w.Gateways4 = w.Gateways4[:len(w.Gateways4)-1]
		}
		if hop.Is6() {
			w.Gateways6 = append(w.Gateways6, hop)
		}
	}
	for id := uint16(1); id < uint16(targets); id++ {
		if r.pick(0.12) {
			continue
		}
		w.Targets[id] = model.Target{
			MAC: packet.MAC{2, 0, 0, 1, byte(r.IntN(256)), byte(id)}, LegMAC: packet.MAC{2, 0, 0, 2, 0, byte(id)},
			MTU: r.MTU(),
		}
	}
	for stream := range uint32(streams - 1) {
		if r.pick(0.1) {
			continue
		}
		table := make([]uint16, 1+r.IntN(101))
		for i := range table {
			table[i] = uint16(r.IntN(targets))
		}
		w.Tables[stream] = table
	}
	return w
}
