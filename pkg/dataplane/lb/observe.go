// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"
)

// Event is one decision of the program.
type Event struct {
	Time                        time.Time
	Reply                       bool // from a leg
	Reason                      Reason
	Src, Dst                    netip.Addr // of an ICMP error: those of the flow that it belongs to
	Protocol                    uint8
	SourcePort, DestinationPort uint16
	Length                      int // of the frame
	Stream, Flow                uint32
	Target                      uint16
}

// Filter selects the decisions that are observed.
type Filter struct {
	Src, Dst netip.Prefix // invalid: any
	Protocol uint8        // 0: any
	Port     uint16       // of either side; 0: any
	Reasons  []Reason     // nil: all
	Rate     int          // events per second at most; 0: DefaultRate
	Sample   uint32       // one of so many packets; 0: 1
}

// DefaultRate is the Filter.Rate of one that names none.
const DefaultRate = 1000

// ErrObserved says that somebody else observes: the program has one filter.
var ErrObserved = errors.New("somebody else observes the load balancer")

// watcher is one call of Observe.
type watcher struct {
	reader *ringbuf.Reader
	close  sync.Once
}

func (w *watcher) stop() { w.close.Do(func() { _ = w.reader.Close() }) }

// Observe calls fn with the decisions that the filter selects, until ctx ends or
// the load balancer is closed. The program filters, samples and limits, so that
// observing costs the other packets nothing but a look at the filter.
func (l *LB) Observe(ctx context.Context, f Filter, fn func(Event)) error {
	control, err := f.control()
	if err != nil {
		return err
	}
	w, err := l.watch(control)
	if err != nil {
		return err
	}
	defer l.unwatch(w)
	defer context.AfterFunc(ctx, w.stop)()
	start := time.Now()
	var clock unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC_COARSE, &clock); err != nil {
		return os.NewSyscallError("clock_gettime", err)
	}
	boot := start.Add(-time.Duration(clock.Nano()))
	for {
		record, err := w.reader.Read()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ringbuf.ErrClosed):
			return errClosed
		case err != nil:
			return fmt.Errorf("read events: %w", err)
		}
		var e bpfLbEvent
		if _, err := binary.Decode(record.RawSample, binary.NativeEndian, &e); err != nil {
			return fmt.Errorf("read events: %w", err)
		}
		fn(e.event(boot))
	}
}

func (l *LB) watch(control bpfLbControl) (*watcher, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.objs == nil:
		return nil, errClosed
	case len(l.watchers) > 0:
		return nil, ErrObserved
	}
	reader, err := ringbuf.NewReader(l.objs.LbEvents)
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	// What the one before had in advance is not held against this one.
	if err := l.objs.LbLimits.Put(bpfLbLimitLB_LIMIT_EVENTS, uint64(0)); err != nil {
		return nil, errors.Join(fmt.Errorf("reset the rate of events: %w", err), reader.Close())
	}
	if err := drain(reader); err != nil {
		return nil, errors.Join(err, reader.Close())
	}
	w := &watcher{reader: reader}
	l.watchers[w] = struct{}{}
	c := at[bpfLbControl](l.control, 0)
	// Nobody looks at the filter while it is off. The fields that are not part
	// of it belong to others.
	control.Waiting, control.Remembered, control.Observe = 0, 0, 0
	c.Interval, c.Src, c.SrcMask, c.Dst, c.DstMask = control.Interval, control.Src, control.SrcMask, control.Dst, control.DstMask
	c.Reasons, c.Sample, c.Port, c.Proto = control.Reasons, control.Sample, control.Port, control.Proto
	atomic.StoreUint32(&c.Observe, 1)
	return w, nil
}

// drain forgets what the observer before has not read.
func drain(reader *ringbuf.Reader) error {
	reader.SetDeadline(time.Unix(1, 0))
	defer reader.SetDeadline(time.Time{})
	var record ringbuf.Record
	for {
		switch err := reader.ReadInto(&record); {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case err != nil:
			return fmt.Errorf("read events: %w", err)
		}
	}
}

func (l *LB) unwatch(w *watcher) {
	w.stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.watchers, w)
	if l.control != nil {
		atomic.StoreUint32(&at[bpfLbControl](l.control, 0).Observe, 0)
	}
}

// stopWatchers ends all observation.
func (l *LB) stopWatchers() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for w := range l.watchers {
		w.stop()
	}
}

// control is the filter as the program has it.
func (f Filter) control() (bpfLbControl, error) {
	c := bpfLbControl{Proto: f.Protocol, Port: bits.ReverseBytes16(f.Port), Sample: f.Sample, Reasons: ^uint64(0)}
	rate := f.Rate
	if rate == 0 {
		rate = DefaultRate
	}
	if rate < 0 {
		return c, fmt.Errorf("rate %d: less than 0", rate)
	}
	c.Interval = uint64(max(1, time.Second/time.Duration(rate)))
	if f.Reasons != nil {
		c.Reasons = 0
	}
	for _, r := range f.Reasons {
		if r == 0 || r >= reasons {
			return c, fmt.Errorf("reason %d: unknown", uint32(r))
		}
		c.Reasons |= 1 << r
	}
	c.Src, c.SrcMask = prefixWords(f.Src)
	c.Dst, c.DstMask = prefixWords(f.Dst)
	return c, nil
}

// prefixWords returns a prefix and its mask as the program has addresses.
func prefixWords(p netip.Prefix) (net, mask [2]uint64) {
	if !p.IsValid() {
		return net, mask
	}
	p = p.Masked()
	n := p.Bits()
	if p.Addr().Is4() {
		n += 96
	}
	var b [16]byte
	for i := range n {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return addrWords(p.Addr()), [2]uint64{binary.NativeEndian.Uint64(b[:]), binary.NativeEndian.Uint64(b[8:])}
}

// addrWords is an address as the program has it: two words as loaded from the
// packet, the first one 0 for IPv4.
func addrWords(a netip.Addr) [2]uint64 {
	b := a.As16()
	w := [2]uint64{binary.NativeEndian.Uint64(b[:]), binary.NativeEndian.Uint64(b[8:])}
	if a.Is4() {
		w[0] = 0
	}
	return w
}

// toAddr is the inverse of addrWords.
func toAddr(w [2]uint64, v4 bool) netip.Addr {
	var b [16]byte
	binary.NativeEndian.PutUint64(b[:], w[0])
	binary.NativeEndian.PutUint64(b[8:], w[1])
	if v4 {
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return netip.AddrFrom16(b)
}

func (e *bpfLbEvent) event(boot time.Time) Event {
	v4 := e.Family == familyIPv4 || e.Family == familyARP
	return Event{
		Time: boot.Add(time.Duration(e.Time)), Reply: e.Reply != 0, Reason: Reason(e.Reason),
		Src: toAddr(e.Src, v4), Dst: toAddr(e.Dst, v4), Protocol: e.Proto,
		SourcePort: bits.ReverseBytes16(e.Sport), DestinationPort: bits.ReverseBytes16(e.Dport),
		Length: int(e.Len), Stream: e.Stream, Flow: e.Flow, Target: uint16(e.Target),
	}
}

// enum pkt_kind of bpf/lib/packet.h.
const (
	familyIPv4 = 0
	familyARP  = 2
)
