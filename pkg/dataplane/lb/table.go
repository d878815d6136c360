// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

const (
	rdonlyProg = unix.BPF_F_RDONLY_PROG
	noLink     = unix.ENOLINK
)

// ring holds the two halves of a stream's table; packets use one of them.
type ring struct {
	m   *ebpf.Map
	mem []byte
}

func (r *ring) close() error { return errors.Join(unix.Munmap(r.mem), r.m.Close()) }

// half returns n slots from slot base.
func (r *ring) half(base, n uint32) []uint16 {
	return unsafe.Slice(at[uint16](r.mem, 2*int(base)), n)
}

// SetTable replaces the Maglev table of a stream: slots hold target ids, 0 is
// no target. It is written to the idle half and switched by one store.
func (l *LB) SetTable(stream uint32, table []uint16) error {
	if len(table) == 0 || len(table) > int(l.cfg.MaxTableSize) {
		return fmt.Errorf("table of stream %d: %d slots: not in 1 to %d", stream, len(table), l.cfg.MaxTableSize)
	}
	for slot, id := range table {
		if int(id) >= l.cfg.MaxTargets {
			return fmt.Errorf("table of stream %d: slot %d: target %d: at most %d targets", stream, slot, id, l.cfg.MaxTargets-1)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	word, err := l.stream(stream)
	if err != nil {
		return err
	}
	idle := l.cfg.MaxTableSize - uint32(atomic.LoadUint64(word)>>32)
	r := l.rings[stream]
	if r == nil {
		if r, err = l.newRing(); err != nil {
			return fmt.Errorf("table of stream %d: %w", stream, err)
		}
		if err := l.objs.LbRings.Put(stream, r.m); err != nil {
			return errors.Join(fmt.Errorf("table of stream %d: %w", stream, err), r.close())
		}
		l.rings[stream] = r
	}
	// A packet that read the word before the previous switch may still look
	// at this half. It finds a slot of that table or of this one.
	copy(r.half(idle, uint32(len(table))), table)
	atomic.StoreUint64(word, uint64(idle)<<32|uint64(len(table)))
	return nil
}

// ClearTable leaves the stream without targets.
func (l *LB) ClearTable(stream uint32) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	word, err := l.stream(stream)
	if err != nil {
		return err
	}
	atomic.StoreUint64(word, atomic.LoadUint64(word)&^(1<<32-1))
	return nil
}

// stream returns the word of a stream's struct lb_stream.
func (l *LB) stream(id uint32) (*uint64, error) {
	if id >= uint32(l.cfg.MaxStreams) {
		return nil, fmt.Errorf("stream %d: at most %d streams", id, l.cfg.MaxStreams)
	}
	if l.objs == nil {
		return nil, errClosed
	}
	return at[uint64](l.streams, 8*int(id)), nil
}

func (l *LB) newRing() (*ring, error) {
	m, err := ebpf.NewMap(&ebpf.MapSpec{
		Name:       "lb_ring",
		Type:       ebpf.Array,
		KeySize:    4,
		ValueSize:  4 * l.cfg.MaxTableSize,
		MaxEntries: 1,
		Flags:      unix.BPF_F_MMAPABLE,
	})
	if err != nil {
		return nil, fmt.Errorf("create ring: %w", err)
	}
	mem, err := mapMemory(m)
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return &ring{m: m, mem: mem}, nil
}
