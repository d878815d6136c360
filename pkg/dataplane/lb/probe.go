// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/packet"
)

// ProbeResult is what became of a probe.
type ProbeResult struct {
	OK     bool   // it was about to leave to Target
	Seen   bool   // the program decided on it
	Reason Reason // the program's; 0 when it did not see the probe
	Stream uint32 // when a rule matched
	Flow   uint32 // when a rule matched
	Target uint16 // when the stream had a target
	Why    string // why the program did not see it
}

const (
	probeMarks = 256 // LB_PROBES
	probeSize  = int(unsafe.Sizeof(bpfLbProbe{}))
	// probeWait is how long a probe may take. It is seen before Probe's system
	// call returns, unless the kernel hands the packet to another CPU or thread.
	probeWait  = 250 * time.Millisecond
	probePause = 200 * time.Microsecond
)

// Probe sends a frame into the external interface as if the wire had brought it:
// whatever is attached there meets it, the program that is in force decides, with
// the maps that are. At the last moment, before it would leave to its target, it
// is taken out and noted. Nobody receives it, and it counts nowhere.
//
// A destination of zeros becomes the interface's address, and an untagged frame
// gets the tag of the VLAN. In XDP mode it meets the program at tcx, which decides
// all by itself; what XDP has to do with a packet it does not show.
func (l *LB) Probe(frame []byte) (ProbeResult, error) {
	l.probing.Lock()
	defer l.probing.Unlock()
	frame, err := l.dressProbe(frame)
	if err != nil {
		return ProbeResult{}, err
	}
	l.probes++
	index := l.probes % uint32(probeMarks)
	nonce, why, err := l.sendProbe(index, frame)
	if err != nil || why != "" {
		return ProbeResult{Why: why}, err
	}
	for until := time.Now().Add(probeWait); ; time.Sleep(probePause) {
		result, err := l.probeResult(index, nonce)
		if err != nil || result.Seen || time.Now().After(until) {
			return result, err
		}
	}
}

// dressProbe returns a copy with the address and tag of the external interface.
func (l *LB) dressProbe(frame []byte) ([]byte, error) {
	if len(frame) < 14 {
		return nil, fmt.Errorf("probe of %d bytes: no Ethernet frame", len(frame))
	}
	frame = slices.Clone(frame)
	if dev := l.dev.Load(); dev != nil && bytes.Equal(frame[:6], make([]byte, 6)) {
		copy(frame, dev.HardwareAddr)
	}
	ethertype := binary.BigEndian.Uint16(frame[12:])
	if l.cfg.VLAN != 0 && ethertype != packet.EtherVLAN && ethertype != packet.EtherQinQ {
		tag := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, packet.EtherVLAN), l.cfg.VLAN)
		frame = slices.Insert(frame, 12, tag...)
	}
	return frame, nil
}

// sendProbe sends a probe; why says why there is no use in waiting for it.
func (l *LB) sendProbe(index uint32, frame []byte) (nonce uint64, why string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.objs == nil:
		return 0, "", errClosed
	case l.shadow:
		return 0, "a predecessor works", nil
	case l.succeeded():
		return 0, "a successor works", nil
	}
	// It would be anybody's packet to a VIP.
	for _, a := range l.links {
		if there, err := attached(a); err != nil || !there {
			return 0, "the program is not attached to the external interface", err
		}
	}
	note := at[bpfLbProbe](l.probed, probeSize*int(index))
	for nonce == 0 || nonce == note.Seen {
		nonce = rand.Uint64()
	}
	atomic.StoreUint64(&note.Nonce, nonce)
	err = netns.Do(l.cfg.NetNS, func() error {
		code, err := l.objs.LbProbe.Run(&ebpf.RunOptions{
			Data: frame, Context: skb{Mark: l.id.probe | index, Ifindex: uint32(l.id.ifindex)},
		})
		if err == nil && code != 0 {
			why = "the external interface does not take packets: is it up?"
		}
		return err
	})
	if err != nil {
		return 0, "", fmt.Errorf("probe: %w", err)
	}
	return nonce, why, nil
}

func (l *LB) probeResult(index uint32, nonce uint64) (ProbeResult, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.objs == nil {
		return ProbeResult{}, errClosed
	}
	note := at[bpfLbProbe](l.probed, probeSize*int(index))
	if atomic.LoadUint64(&note.Seen) != nonce {
		return ProbeResult{Why: "the program has not seen the packet"}, nil
	}
	r := ProbeResult{
		Seen: true, Reason: Reason(note.Reason), Stream: note.Stream, Flow: note.Flow, Target: uint16(note.Target),
	}
	r.OK = r.Reason == Forwarded && r.Target != 0
	return r, nil
}

// Err says why a probe did not get through; nil: it did.
func (r ProbeResult) Err() error {
	switch {
	case r.OK:
		return nil
	case !r.Seen:
		return fmt.Errorf("%w: %s", ErrNotSeen, r.Why)
	}
	return fmt.Errorf("the packet is not forwarded: %s", r.Reason)
}

// ErrNotSeen says that a packet did not come to the program.
var ErrNotSeen = errors.New("the data path did not see the packet")
