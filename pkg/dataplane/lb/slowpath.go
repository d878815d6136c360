// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf/perf"
	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/packet"
	"github.com/weft-project/weft/internal/slowpath"
)

const (
	puntBuffer = 256 << 10 // bytes per CPU
	puntQueue  = 256       // events between the reader and the engine
)

// fragmentLife is how long the program remembers a first fragment: FRAG_LIFE of
// bpf/lib/fragment.h.
const fragmentLife = 5 * time.Second

// slowPath takes what the programs hand over to the engine that does it.
type slowPath struct {
	lb     *LB
	engine *slowpath.Engine
	socket *slowpath.Socket
	reader *perf.Reader
	cancel context.CancelFunc
	work   sync.WaitGroup
	lost   atomic.Uint64 // records that the ring had no room for

	mu   sync.Mutex // guards what follows
	link *nl.Handle // of the namespace; nil when closed
}

// startSlowPath reads from the maps that all programs of l share.
func startSlowPath(l *LB) (_ *slowPath, err error) {
	s := &slowPath{lb: l}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.socket, err = slowpath.OpenSocket(l.cfg.NetNS); err != nil {
		return nil, err
	}
	if s.link, err = nl.Open(l.cfg.NetNS); err != nil {
		return nil, err
	}
	s.engine, err = slowpath.New(slowpath.Config{
		External: l.id.ifindex, Targets: s, Gateways: s, Fragments: s, Sender: s.socket,
	})
	if err != nil {
		return nil, err
	}
	if s.reader, err = perf.NewReader(l.objs.LbPunts, puntBuffer); err != nil {
		return nil, fmt.Errorf("read what the program hands over: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	events := make(chan slowpath.Event, puntQueue)
	s.work.Go(func() { s.engine.Run(ctx, events) })
	s.work.Go(func() { s.read(ctx, events) })
	return s, nil
}

func (s *slowPath) close() error {
	var errs []error
	if s.cancel != nil {
		s.cancel()
	}
	if s.reader != nil {
		errs = append(errs, s.reader.Close())
	}
	s.work.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.socket != nil {
		errs = append(errs, s.socket.Close())
		s.socket = nil
	}
	if s.link != nil {
		errs = append(errs, s.link.Close())
		s.link = nil
	}
	return errors.Join(errs...)
}

// read turns records into events until the reader is closed.
func (s *slowPath) read(ctx context.Context, events chan<- slowpath.Event) {
	for {
		record, err := s.reader.Read()
		if errors.Is(err, perf.ErrClosed) {
			return
		}
		if err != nil {
			continue // one record that could not be read
		}
		s.lost.Add(record.LostSamples)
		if len(record.RawSample) == 0 {
			continue
		}
		event, ok := puntEvent(record.RawSample)
		if !ok {
			continue
		}
		select {
		case events <- event:
		case <-ctx.Done():
			return
		}
	}
}

// puntEvent is a record as the engine takes it. The record's bytes are the event's.
func puntEvent(raw []byte) (slowpath.Event, bool) {
	var p bpfLbPunt
	size := int(unsafe.Sizeof(p))
	if len(raw) < size {
		return slowpath.Event{}, false
	}
	if _, err := binary.Decode(raw[:size], binary.NativeEndian, &p); err != nil {
		return slowpath.Event{}, false
	}
	kind, ok := map[bpfLbPuntKind]slowpath.Kind{
		bpfLbPuntKindLB_PUNT_TTL:     slowpath.TimeExceeded,
		bpfLbPuntKindLB_PUNT_TOO_BIG: slowpath.TooBig,
		bpfLbPuntKindLB_PUNT_CUT:     slowpath.Fragment,
		bpfLbPuntKindLB_PUNT_PARK:    slowpath.Park,
		bpfLbPuntKindLB_PUNT_RELEASE: slowpath.Release,
	}[p.Kind]
	frame := raw[size:]
	if int(p.Len) < len(frame) {
		frame = frame[:p.Len] // perf pads records
	}
	return slowpath.Event{
		Kind: kind, Reply: p.Reply != 0, Frame: frame, Length: int(p.Len), L3: int(p.L3), GSO: p.Gso != 0,
		MTU: int(p.Mtu), Target: uint16(p.Target), Port: bits.ReverseBytes16(uint16(p.Port)),
		Key: p.Key.key(), Leg: int(p.Leg),
	}, ok
}

// key is a fragment's key as the engine has it. IPv4 addresses have the mark of
// v4-mapped ones in their second word, and nothing in the first.
func (k *bpfLbFragKey) key() slowpath.FragmentKey {
	v4 := k.Src[0] == 0 && k.Dst[0] == 0 && uint32(k.Src[1]) == v4Mapped && uint32(k.Dst[1]) == v4Mapped
	id := bits.ReverseBytes32(k.Id)
	if v4 {
		id = uint32(bits.ReverseBytes16(uint16(k.Id)))
	}
	return slowpath.FragmentKey{Src: toAddr(k.Src, v4), Dst: toAddr(k.Dst, v4), ID: id, Proto: uint8(k.Proto)}
}

const v4Mapped = 0xffff0000 // V4_MAPPED of bpf/lib/packet.h

func toFragKey(k slowpath.FragmentKey) bpfLbFragKey {
	id := bits.ReverseBytes32(k.ID)
	if k.Src.Is4() {
		id = uint32(bits.ReverseBytes16(uint16(k.ID)))
	}
	return bpfLbFragKey{Src: addrWords(k.Src), Dst: addrWords(k.Dst), Id: id, Proto: uint32(k.Proto)}
}

// Lookup implements slowpath.Fragments.
func (s *slowPath) Lookup(key slowpath.FragmentKey) (slowpath.FragmentVerdict, bool) {
	s.lb.mu.Lock()
	defer s.lb.mu.Unlock()
	if s.lb.objs == nil {
		return slowpath.FragmentVerdict{}, false
	}
	var note bpfLbFrag
	if err := s.lb.objs.LbFrags.Lookup(toFragKey(key), &note); err != nil {
		var ok bool
		if note, ok = s.lb.heritage.fragment(s.lb, toFragKey(key)); !ok {
			return slowpath.FragmentVerdict{}, false
		}
	}
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC_COARSE, &now) != nil || int64(note.Time)+int64(fragmentLife) < now.Nano() {
		return slowpath.FragmentVerdict{}, false
	}
	reason := Reason(note.Reason)
	return slowpath.FragmentVerdict{Target: uint16(note.Target), Echo: reason == EchoAnswered, Drop: reason.Drop()}, true
}

// SetWaiting implements slowpath.Fragments: Go's atomic operations are barriers.
func (s *slowPath) SetWaiting(on bool) {
	s.lb.mu.Lock()
	defer s.lb.mu.Unlock()
	if s.lb.control == nil {
		return
	}
	value := uint32(0)
	if on {
		value = 1
	}
	atomic.SwapUint32(&at[bpfLbControl](s.lb.control, 0).Waiting, value)
}

// Target implements slowpath.Targets.
func (s *slowPath) Target(id uint16) (slowpath.NextHop, bool) {
	s.lb.mu.Lock()
	defer s.lb.mu.Unlock()
	e, err := s.lb.target(id)
	if err != nil {
		return slowpath.NextHop{}, false
	}
	hop := e.Hop[e.Active&1]
	return slowpath.NextHop{Interface: int(hop.Ifindex), Dst: hop.Dst, Src: hop.Src, MTU: int(hop.Mtu)}, hop.Ifindex != 0
}

// Gateway implements slowpath.Gateways: the program is asked where it sends a
// later fragment between the addresses.
func (s *slowPath) Gateway(src, dst netip.Addr) (slowpath.NextHop, bool) {
	v, _, err := s.lb.TraceReply(fragmentOf(src, dst))
	if err != nil || v.Reason != ReplyForwarded {
		return slowpath.NextHop{}, false
	}
	gateway := v.Gateway
	dev, err := s.lb.device()
	if err != nil {
		return slowpath.NextHop{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link == nil {
		return slowpath.NextHop{}, false
	}
	mac, err := s.link.ResolvedNeighbour(s.lb.id.ifindex, gateway)
	if err != nil || len(mac) != 6 || len(dev.HardwareAddr) != 6 {
		return slowpath.NextHop{}, false
	}
	return slowpath.NextHop{
		Interface: s.lb.id.ifindex, Dst: packet.MAC(mac), Src: packet.MAC(dev.HardwareAddr), MTU: dev.MTU,
	}, true
}

// fragmentOf is a later fragment of some packet.
func fragmentOf(src, dst netip.Addr) []byte {
	ip := packet.IP{Src: src, Dst: dst, TTL: 64, Fragment: 1}
	return ip.Packet(packet.Ethernet{}, packet.UDP, make([]byte, 8))
}

// SlowPathCounters count what user space did for packets that the program cannot
// finish by itself.
type SlowPathCounters struct {
	slowpath.Counters
	Lost uint64 // handed over when there was no room for more
}

// All yields the counters by their names in metrics, always in the same order;
// not Held, which is no counter.
func (c SlowPathCounters) All(yield func(event string, n uint64) bool) {
	for _, e := range [...]struct {
		name string
		n    uint64
	}{
		{"lost", c.Lost}, {"malformed", c.Malformed},
		{"time_exceeded_sent", c.TimeExceeded}, {"too_big_sent", c.TooBig},
		{"icmp_not_allowed", c.NotAllowed}, {"icmp_rate_limited", c.RateLimited},
		{"packets_cut", c.Cut}, {"pieces_sent", c.Pieces}, {"cut_failed", c.CutFailed},
		{"fragments_released", c.Released}, {"fragments_expired", c.Expired}, {"fragments_refused", c.Refused},
		{"fragments_forwarded", c.Forwarded}, {"fragments_echoed", c.Echoed},
		{"fragments_dropped", c.Dropped}, {"fragments_undeliverable", c.Undeliverable},
		{"send_errors", c.SendErrors},
	} {
		if !yield(e.name, e.n) {
			return
		}
	}
}

// SlowPath returns what the slow path has done.
func (l *LB) SlowPath() SlowPathCounters {
	return SlowPathCounters{Counters: l.slow.engine.Counters(), Lost: l.slow.lost.Load()}
}
