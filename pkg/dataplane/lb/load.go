// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"fmt"
	"os"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Sizes of the rule blob. The verifier needs it constant, so a rule set that
// outgrows it takes a program of the next size. Powers of two.
var blobSizes = [...]uint32{1 << 16, 1 << 19, 1 << 22, 1 << 25, 1 << 28}

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

// load loads programs for blobs of size bytes. Maps of old, if any, that do not
// depend on that size are shared.
func load(cfg Config, ifindex int, size uint32, old *bpfObjects) (*bpfObjects, error) {
	spec, err := loadBpf()
	if err != nil {
		return nil, err
	}
	spec.Maps[bpfMapLbRules].InnerMap.ValueSize = size + blobSlack
	spec.Maps[bpfMapLbRings].InnerMap.ValueSize = 4 * cfg.MaxTableSize
	spec.Maps[bpfMapLbRings].MaxEntries = uint32(cfg.MaxStreams)
	spec.Maps[bpfMapLbStreams].MaxEntries = uint32(cfg.MaxStreams)
	spec.Maps[bpfMapLbTargets].MaxEntries = uint32(cfg.MaxTargets)
	spec.Maps[bpfMapLbTraffic].MaxEntries = uint32(cfg.MaxTargets)
	for name, value := range map[string]any{
		bpfVarCfgBlobMask:  size - 1,
		bpfVarCfgTableSize: cfg.MaxTableSize,
		bpfVarCfgIfindex:   uint32(ifindex),
		bpfVarCfgVlan:      cfg.VLAN,
	} {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, fmt.Errorf("set %s: %w", name, err)
		}
	}
	var opts ebpf.CollectionOptions
	if old != nil {
		opts.MapReplacements = map[string]*ebpf.Map{
			bpfMapLbRings:   old.LbRings,
			bpfMapLbStreams: old.LbStreams,
			bpfMapLbTargets: old.LbTargets,
			bpfMapLbTraffic: old.LbTraffic,
			bpfMapLbStats:   old.LbStats,
		}
	}
	objs := new(bpfObjects)
	if err := spec.LoadAndAssign(objs, &opts); err != nil {
		return nil, fmt.Errorf("load lb: %w", err)
	}
	return objs, nil
}

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
