// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/packet"
)

const (
	loadPort   = 7000
	loadBatch  = 64       // messages per system call
	loadLag    = 512      // packets that a sender which was kept waiting makes up for
	loadBuffer = 32 << 20 // of a receiver
)

// loadFlow is a flow of numbered datagrams of its own number.
type loadFlow struct {
	src, dst netip.Addr
	port     uint16
	frame    []byte // the next one, but for its number
	sent     uint32
	sum      uint64 // of the numbers sent
}

// newLoadFlow makes a datagram that carries two numbers, each with its complement:
// whatever the numbers are, the checksum is the same.
func newLoadFlow(index int, src, dst netip.Addr, port uint16) *loadFlow {
	f := &loadFlow{src: src, dst: dst, port: port}
	text := make([]byte, 16)
	putNumber(text, uint32(index))
	putNumber(text[8:], 0)
	ip := packet.IP{Src: src, Dst: dst}
	f.frame = ip.Packet(packet.Ethernet{Dst: extMAC, Src: routerMAC}, packet.UDP, ip.UDP(port, loadPort, text))
	return f
}

func putNumber(b []byte, n uint32) {
	binary.BigEndian.PutUint32(b, n)
	binary.BigEndian.PutUint32(b[4:], ^n)
}

// readNumber reads what putNumber wrote.
func readNumber(b []byte) (n uint32, ok bool) {
	n = binary.BigEndian.Uint32(b)
	return n, binary.BigEndian.Uint32(b[4:]) == ^n
}

// loadSender sends the packets of many flows in turn, at a steady rate.
type loadSender struct {
	wire   *wire
	flows  []*loadFlow
	active atomic.Int32 // how many of the flows
	next   int
	batch  messages
}

// messages are the arguments of sendmmsg and recvmmsg.
type messages struct {
	headers [loadBatch]struct {
		unix.Msghdr
		size uint32
		_    [4]byte
	}
	vectors [loadBatch]unix.Iovec
}

func (m *messages) set(i int, b []byte) {
	m.vectors[i].Base = &b[0]
	m.vectors[i].SetLen(len(b))
	m.headers[i].Iov = &m.vectors[i]
	m.headers[i].SetIovlen(1)
}

// call makes the system call for the first n messages and returns how many it
// took.
func (m *messages) call(trap uintptr, fd, n, flags int) (int, error) {
	for {
		done, _, errno := unix.Syscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(&m.headers)), uintptr(n), uintptr(flags), 0, 0)
		if errno == 0 {
			return int(done), nil
		}
		if errno != unix.EINTR {
			return 0, errno
		}
	}
}

// run sends until stop is closed, and returns how many packets that were and for
// how long. What could not be sent in time is left out rather than sent at once:
// a burst is another test.
func (s *loadSender) run(rate int, stop <-chan struct{}) (sent int, took time.Duration, err error) {
	start, skipped := time.Now(), 0
	tick := time.NewTicker(500 * time.Microsecond)
	defer tick.Stop()
	for {
		due := int(time.Since(start).Seconds()*float64(rate)) - skipped - sent
		if due > loadLag {
			skipped += due - loadLag
			due = loadLag
		}
		for due > 0 {
			n, err := s.send(min(due, loadBatch))
			if err != nil {
				return sent, time.Since(start), err
			}
			sent, due = sent+n, due-n
		}
		select {
		case <-stop:
			return sent, time.Since(start), nil
		case <-tick.C:
		}
	}
}

// send sends one packet each of the next n flows.
func (s *loadSender) send(n int) (int, error) {
	flows := s.flows[:s.active.Load()]
	n = min(n, len(flows))
	for i := range n {
		f := flows[(s.next+i)%len(flows)]
		putNumber(f.frame[len(f.frame)-8:], f.sent)
		s.batch.set(i, f.frame)
	}
	n, err := s.batch.call(unix.SYS_SENDMMSG, s.wire.fd, n, 0)
	for i := range n {
		f := flows[(s.next+i)%len(flows)]
		f.sum += uint64(f.sent)
		f.sent++
	}
	s.next = (s.next + n) % len(flows)
	return n, err
}

// loadReceiver counts what a target receives.
type loadReceiver struct {
	fd    int
	batch messages
	mu    sync.Mutex // guards what follows
	count []uint32   // packets by flow
	sum   []uint64   // of their numbers
	total int
	wrong int // packets that are none of ours
}

// receive starts a receiver in a namespace, until cleanup.
func receive(t *testing.T, ns string, flows int) *loadReceiver {
	t.Helper()
	r := &loadReceiver{count: make([]uint32, flows), sum: make([]uint64, flows)}
	check(t, netns.Do(ns, func() (err error) {
		r.fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return err
	}))
	var ended atomic.Bool
	var group sync.WaitGroup
	t.Cleanup(func() {
		ended.Store(true)
		group.Wait()
		_ = unix.Close(r.fd)
	})
	timeout := unix.NsecToTimeval(int64(50 * time.Millisecond)) // to see that it is to end
	check(t, errors.Join(
		unix.SetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, loadBuffer),
		unix.SetsockoptTimeval(r.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout),
		unix.SetsockoptInt(r.fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0),
		unix.Bind(r.fd, &unix.SockaddrInet6{Port: loadPort}),
	))
	group.Go(func() {
		buffers := make([][64]byte, loadBatch)
		for i := range buffers {
			r.batch.set(i, buffers[i][:])
		}
		for !ended.Load() {
			n, err := r.batch.call(unix.SYS_RECVMMSG, r.fd, loadBatch, unix.MSG_WAITFORONE)
			if err != nil && !errors.Is(err, unix.EAGAIN) {
				t.Errorf("receive: %v", err)
				return
			}
			r.take(buffers[:n])
		}
	})
	return r
}

func (r *loadReceiver) take(list [][64]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range list {
		flow, ok := readNumber(list[i][:])
		n, also := readNumber(list[i][8:])
		if !ok || !also || int(flow) >= len(r.count) {
			r.wrong++
			continue
		}
		r.total++
		r.count[flow]++
		r.sum[flow] += uint64(n)
	}
}

func (r *loadReceiver) received() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.total
}

// reset forgets what was received.
func (r *loadReceiver) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.count)
	clear(r.sum)
	r.total = 0
}

// newLoad makes flows of both versions of IP to the VIPs, and receivers in the
// targets. Those to the routed VIPs are active.
func newLoad(t *testing.T, s *stacks, flows, others int) (*loadSender, []*loadReceiver) {
	t.Helper()
	sender := &loadSender{wire: openWire(t, s.client, "ext")}
	// Nothing is to be copied to the socket that sends.
	check(t, unix.Bind(sender.wire.fd, &unix.SockaddrLinklayer{Ifindex: sender.wire.ifindex}))
	for i := range flows + others {
		src, dst := client4, routed4
		if i >= flows {
			dst = onLink4
		}
		if i%2 == 1 {
			src, dst = client6, map[netip.Addr]netip.Addr{routed4: routed6, onLink4: onLink6}[dst]
		}
		sender.flows = append(sender.flows, newLoadFlow(i, src, dst, uint16(1024+i*13)))
	}
	sender.active.Store(int32(flows))
	var receivers []*loadReceiver
	for _, ns := range s.targets {
		receivers = append(receivers, receive(t, ns, flows+others))
	}
	return sender, receivers
}
