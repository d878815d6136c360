// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/weft-project/weft/internal/classify"
)

// heritage are the maps of a predecessor that matter to its successor: they tell
// where flows and packets have been sent, by numbers of its own. A map that is
// not as ours is left alone. A nil heritage knows nothing.
type heritage struct {
	frags, pins, targets, gateways *ebpf.Map // nil when they cannot be read
	timer                          *time.Timer
}

// openHeritage finds the maps of the program that a link has. What cannot be
// found is forgotten: it concerns single packets, and flows that the tables do
// not decide.
func openHeritage(entry link.Link) *heritage {
	h := &heritage{}
	if entry == nil {
		return h
	}
	info, err := entry.Info()
	if err != nil {
		return h
	}
	program, err := ebpf.NewProgramFromID(info.Program)
	if err != nil {
		return h
	}
	defer func() { _ = program.Close() }()
	about, err := program.Info()
	if err != nil {
		return h
	}
	ids, _ := about.MapIDs()
	for _, id := range ids {
		m, err := ebpf.NewMapFromID(id)
		if err == nil && !h.keep(m) {
			_ = m.Close()
		}
	}
	return h
}

// keep takes a map if it is one that matters.
func (h *heritage) keep(m *ebpf.Map) bool {
	info, err := m.Info()
	if err != nil {
		return false
	}
	spec, err := loadBpf()
	if err != nil {
		return false
	}
	for name, to := range map[string]**ebpf.Map{
		bpfMapLbFrags: &h.frags, bpfMapLbPins: &h.pins, bpfMapLbTargets: &h.targets,
		bpfMapLbGateways: &h.gateways,
	} {
		ours := spec.Maps[name]
		if info.Name == name && *to == nil &&
			m.Type() == ours.Type && m.KeySize() == ours.KeySize && m.ValueSize() == ours.ValueSize {
			*to = m
			return true
		}
	}
	return false
}

func (h *heritage) close() error {
	if h == nil {
		return nil
	}
	if h.timer != nil {
		h.timer.Stop()
	}
	var errs []error
	for _, m := range []*ebpf.Map{h.frags, h.pins, h.targets, h.gateways} {
		errs = append(errs, m.Close()) // nil is fine
	}
	h.frags, h.pins, h.targets, h.gateways = nil, nil, nil, nil
	return errors.Join(errs...)
}

// expire closes the heritage when nothing of it matters any more. The caller
// holds l.mu.
func (h *heritage) expire(l *LB) {
	h.timer = time.AfterFunc(fragmentLife, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		_ = h.close()
	})
}

// fragment returns what the predecessor noted about a packet, with the present
// number of its target. The caller holds l.mu.
func (h *heritage) fragment(l *LB, key bpfLbFragKey) (note bpfLbFrag, ok bool) {
	if h == nil || h.frags == nil || h.targets == nil || h.frags.Lookup(key, &note) != nil {
		return bpfLbFrag{}, false
	}
	var then bpfLbTarget
	if h.targets.Lookup(note.Target, &then) != nil {
		return bpfLbFrag{}, false
	}
	note.Target = uint32(l.places()[then.Hop[then.Active&1].Ifindex])
	return note, true
}

// places returns the numbers of the targets by their legs. The caller holds l.mu.
func (l *LB) places() map[uint32]uint16 {
	numbers := map[uint32]uint16{}
	for id := 1; id < l.cfg.MaxTargets; id++ {
		e := at[bpfLbTarget](l.targets, targetSize*id)
		if leg := e.Hop[e.Active&1].Ifindex; leg != 0 {
			numbers[leg] = uint16(id)
		}
	}
	return numbers
}

// pinBatch is how many flows are read and written at once.
const pinBatch = 4096

// copyPins makes flows stay with their targets. Streams are known by their
// numbers: where a predecessor had given another number, its flows go where the
// table sends them. The caller holds l.rules and l.mu.
func (h *heritage) copyPins(l *LB) error {
	if h.pins == nil || h.targets == nil || l.objs.affinity == 0 {
		return nil
	}
	now := h.translate(l)
	keys, values := make([]bpfLbFlowKey, pinBatch), make([]bpfLbPin, pinBatch)
	var cursor ebpf.MapBatchCursor
	for {
		n, err := h.pins.BatchLookup(&cursor, keys, values, nil)
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("read flows of the predecessor: %w", err)
		}
		known := 0
		for i := range n {
			if id := now[values[i].Target]; id != 0 {
				keys[known], values[known] = keys[i], bpfLbPin{Stream: values[i].Stream, Target: uint32(id)}
				known++
			}
		}
		if known > 0 {
			if _, err := l.objs.LbPins.BatchUpdate(keys[:known], values[:known], nil); err != nil {
				return fmt.Errorf("write flows of the predecessor: %w", err)
			}
		}
		if err != nil {
			return nil
		}
	}
}

// translate returns the present numbers of the predecessor's targets.
func (h *heritage) translate(l *LB) map[uint32]uint16 {
	now, places := map[uint32]uint16{}, l.places()
	var id uint32
	var then bpfLbTarget
	for entries := h.targets.Iterate(); entries.Next(&id, &then); {
		if to := places[then.Hop[then.Active&1].Ifindex]; to != 0 {
			now[id] = to
		}
	}
	return now
}

// inheritGateways has a successor begin with the gateways of its predecessor. Only
// New calls it.
func (l *LB) inheritGateways() {
	if !l.shadow {
		return
	}
	h := openHeritage(l.inherited[hooks[0].name])
	h.copyGateways(l)
	_ = h.close()
}

// copyGateways takes the live gateways over, unless SetGateways has told others.
// The caller holds l.mu, or is New.
func (h *heritage) copyGateways(l *LB) {
	if h.gateways == nil || l.told {
		return
	}
	var all bpfLbGateway
	if h.gateways.Lookup(uint32(0), &all) != nil {
		return
	}
	now := &all.Half[all.Active&1]
	g := Gateways{Table: now.Table}
	for i, list := range [...]*[]netip.Addr{&g.Default4, &g.Default6} {
		for _, hop := range now.Ways[i].Hops[:min(int(now.N[i]), classify.MaxGateways)] {
			*list = append(*list, hopAddr(hop.Hi, hop.Lo))
		}
	}
	if g.Table != 0 && l.forwardLookups() != nil {
		g.Table = 0
	}
	if g.Validate() == nil {
		l.writeGateways(g.clone())
	}
}
