// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/packet"
)

// Sizes of the rule blob. The verifier needs it constant, so a rule set that
// outgrows it takes a program of the next size. Powers of two.
var blobSizes = [...]uint32{1 << 16, 1 << 19, 1 << 22, 1 << 25, 1 << 26, 1 << 27, 1 << 28}

// blobSlack is what a masked offset may read beyond the mask.
const blobSlack = 8

// blobSize returns the smallest size for n bytes.
func blobSize(n int) (uint32, error) {
	for _, size := range blobSizes {
		if n <= int(size) {
			return size, nil
		}
	}
	return 0, fmt.Errorf("rules need %d bytes: at most %d", n, blobSizes[len(blobSizes)-1])
}

// shape is what programs are compiled for: another one takes other programs.
type shape struct {
	blob     uint32 // size of the rule blob
	affinity uint32 // flows that stay with their target
}

// covers says that programs of this shape can do what those of other can.
func (s shape) covers(other shape) bool { return s.blob >= other.blob && s.affinity == other.affinity }

// objects are programs of one shape, and the maps.
type objects struct {
	bpfObjects
	shape
	xdp *ebpf.Program // nil without XDP
}

func (o *objects) Close() error {
	var errs []error
	if o.xdp != nil {
		errs = append(errs, o.xdp.Close())
	}
	return errors.Join(append(errs, o.bpfObjects.Close())...)
}

// identity is what a load balancer's programs know each other and their owner by.
type identity struct {
	ifindex int
	trace   uint32 // mark of test runs
	probe   uint32 // mark of probes, but for the bits of their index
	secret  uint32 // in metadata, 0: no XDP
}

func newIdentity(ifindex int, xdp bool) identity {
	id := identity{ifindex: ifindex, trace: rand.Uint32() | 1}
	for id.probe == 0 || id.probe == id.trace&^(uint32(probeMarks)-1) {
		id.probe = rand.Uint32() &^ (uint32(probeMarks) - 1)
	}
	if xdp {
		id.secret = rand.Uint32() | 1
	}
	return id
}

// load loads programs of a shape. Maps of old, if any, that do not depend on the
// shape are shared.
func load(cfg Config, id identity, want shape, old *objects) (_ *objects, err error) {
	spec, err := loadBpf()
	if err != nil {
		return nil, err
	}
	if err := prepare(spec, cfg, id, want); err != nil {
		return nil, err
	}
	var opts ebpf.CollectionOptions
	if old != nil {
		opts.MapReplacements = old.shared(want)
	}
	o := &objects{shape: want}
	if err := spec.LoadAndAssign(&o.bpfObjects, &opts); err != nil {
		return nil, fmt.Errorf("load lb: %w", err)
	}
	// So that a successor finds the gateways by the program of the interface.
	if err := o.Lb.BindMap(o.LbGateways); err != nil {
		return nil, errors.Join(fmt.Errorf("bind gateways: %w", err), o.Close())
	}
	if id.secret == 0 {
		return o, nil
	}
	if o.xdp, err = loadXDPProgram(cfg, id, o); err != nil {
		return nil, errors.Join(err, o.Close())
	}
	return o, nil
}

// loadXDPProgram loads the XDP entry over the maps of o.
func loadXDPProgram(cfg Config, id identity, o *objects) (*ebpf.Program, error) {
	spec, err := loadXdp()
	if err != nil {
		return nil, err
	}
	if err := prepare(spec, cfg, id, o.shape); err != nil {
		return nil, err
	}
	opts := ebpf.CollectionOptions{MapReplacements: o.shared(o.shape)}
	opts.MapReplacements[bpfMapLbRules] = o.LbRules
	var programs struct {
		Lb *ebpf.Program `ebpf:"lb_xdp"`
	}
	if err := spec.LoadAndAssign(&programs, &opts); err != nil {
		return nil, fmt.Errorf("load lb_xdp: %w", err)
	}
	return programs.Lb, nil
}

// shared returns the maps that programs of the wanted shape take over.
func (o *objects) shared(want shape) map[string]*ebpf.Map {
	maps := map[string]*ebpf.Map{
		bpfMapLbRings:      o.LbRings,
		bpfMapLbStreams:    o.LbStreams,
		bpfMapLbMembers:    o.LbMembers,
		bpfMapLbTargets:    o.LbTargets,
		bpfMapLbTargetLoad: o.LbTargetLoad,
		bpfMapLbStreamLoad: o.LbStreamLoad,
		bpfMapLbFlowLoad:   o.LbFlowLoad,
		bpfMapLbStats:      o.LbStats,
		bpfMapLbFrags:      o.LbFrags,
		bpfMapLbControl:    o.LbControl,
		bpfMapLbLimits:     o.LbLimits,
		bpfMapLbGateways:   o.LbGateways,
		bpfMapLbProbes:     o.LbProbes,
		bpfMapLbPunts:      o.LbPunts,
		bpfMapLbEvents:     o.LbEvents,
	}
	if want.affinity == o.affinity {
		maps[bpfMapLbPins] = o.LbPins
	}
	return maps
}

// leastPins is what the kernel makes of a smaller map.
const leastPins = 64

func prepare(spec *ebpf.CollectionSpec, cfg Config, id identity, want shape) error {
	spec.Maps[bpfMapLbRules].InnerMap.ValueSize = want.blob + blobSlack
	spec.Maps[bpfMapLbRings].InnerMap.ValueSize = 4 * cfg.MaxTableSize
	spec.Maps[bpfMapLbMembers].ValueSize = 8 * memberWords(cfg)
	for name, n := range map[string]int{
		bpfMapLbRings: cfg.MaxStreams, bpfMapLbStreams: cfg.MaxStreams, bpfMapLbMembers: cfg.MaxStreams,
		bpfMapLbStreamLoad: cfg.MaxStreams, bpfMapLbTargets: cfg.MaxTargets, bpfMapLbTargetLoad: cfg.MaxTargets,
		bpfMapLbFlowLoad: cfg.MaxFlows, bpfMapLbFrags: cfg.MaxFragments, bpfMapLbPins: max(int(want.affinity), leastPins),
	} {
		spec.Maps[name].MaxEntries = uint32(n)
	}
	low, high := packet.CRC32CPowers()
	for name, value := range map[string]any{
		bpfVarCfgBlobMask:    want.blob - 1,
		bpfVarCfgTableSize:   cfg.MaxTableSize,
		bpfVarCfgIfindex:     uint32(id.ifindex),
		bpfVarCfgVlan:        cfg.VLAN,
		bpfVarCfgTrace:       id.trace,
		bpfVarCfgProbe:       id.probe,
		bpfVarCfgSecret:      id.secret,
		bpfVarCfgAffinity:    want.affinity,
		bpfVarCfgMemberWords: memberWords(cfg),
		bpfVarCfgCrcLow:      low,
		bpfVarCfgCrcHigh:     high,
	} {
		variable := spec.Variables[name]
		if variable == nil {
			continue // the XDP program does not rewrite
		}
		if err := variable.Set(value); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	return nil
}

// memberWords is how many 64-bit words the targets of a stream take.
func memberWords(cfg Config) uint32 { return uint32(cfg.MaxTargets+63) / 64 }

// mapMemory maps the values of an array into memory.
func mapMemory(m *ebpf.Map) ([]byte, error) {
	size := int(m.MaxEntries()) * ((int(m.ValueSize()) + 7) &^ 7)
	page := os.Getpagesize()
	mem, err := unix.Mmap(m.FD(), 0, (size+page-1)/page*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mmap %s: %w", m, err)
	}
	return mem, nil
}

// at returns a pointer to the value of type T at a byte offset of mapped memory.
func at[T any](mem []byte, off int) *T {
	return (*T)(unsafe.Pointer(&mem[off : off+int(unsafe.Sizeof(*new(T)))][0]))
}
