// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/packet"
	"github.com/weft-project/weft/internal/testutil"
)

// stackBuffer of a socket lets a stall of the scheduler not look like a loss.
const stackBuffer = 8 << 20

// dialUDP opens a connected socket with the limit of one test. An invalid local
// address leaves that to the kernel.
func dialUDP(t *testing.T, ns string, local, remote netip.AddrPort) *net.UDPConn {
	t.Helper()
	var from *net.UDPAddr
	if local.IsValid() {
		from = net.UDPAddrFromAddrPort(local)
	}
	var c *net.UDPConn
	check(t, netns.Do(ns, func() (err error) {
		c, err = net.DialUDP("udp", from, net.UDPAddrFromAddrPort(remote))
		return err
	}))
	t.Cleanup(func() { _ = c.Close() })
	check(t, c.SetDeadline(time.Now().Add(stackLimit)))
	setOption(t, c, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, stackBuffer)
	return c
}

// listenUDP opens an unconnected socket.
func listenUDP(t *testing.T, ns string, at netip.AddrPort) *net.UDPConn {
	t.Helper()
	c := testutil.ListenPacket(t, ns, "udp", at.String()).(*net.UDPConn)
	setOption(t, c, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, stackBuffer)
	return c
}

// echoUDP sends back what it receives, from the address that it was sent to, and
// returns its socket.
func echoUDP(t *testing.T, ns string, at netip.AddrPort) *net.UDPConn {
	t.Helper()
	var group sync.WaitGroup
	t.Cleanup(group.Wait)
	c := listenUDP(t, ns, at)
	group.Go(func() {
		buffer := make([]byte, 1<<16)
		for {
			n, from, err := c.ReadFromUDPAddrPort(buffer)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				_, _ = c.WriteToUDPAddrPort(buffer[:n], from)
			}
		}
	})
	return c
}

// onSocket calls fn with the descriptor of a connection.
func onSocket(t *testing.T, c *net.UDPConn, fn func(fd int) error) {
	t.Helper()
	raw, err := c.SyscallConn()
	check(t, err)
	var inner error
	check(t, raw.Control(func(fd uintptr) { inner = fn(int(fd)) }))
	check(t, inner)
}

func setOption(t *testing.T, c *net.UDPConn, level, option, value int) {
	t.Helper()
	onSocket(t, c, func(fd int) error { return unix.SetsockoptInt(fd, level, option, value) })
}

func getOption(t *testing.T, c *net.UDPConn, level, option int) (value int) {
	t.Helper()
	onSocket(t, c, func(fd int) (err error) { value, err = unix.GetsockoptInt(fd, level, option); return err })
	return value
}

// icmpReport is an ICMP error as a socket learns of it.
type icmpReport struct {
	Errno      unix.Errno
	Type, Code uint8
	Info       uint32
	From       netip.Addr
}

// nextReport waits for the next entry of a socket's error queue.
func nextReport(t *testing.T, c *net.UDPConn) icmpReport {
	t.Helper()
	raw, err := c.SyscallConn()
	check(t, err)
	buffer, oob := make([]byte, 1<<16), make([]byte, 512)
	var n int
	var queueErr error
	check(t, raw.Read(func(fd uintptr) bool {
		_, n, _, _, queueErr = unix.Recvmsg(int(fd), buffer, oob, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		return !errors.Is(queueErr, unix.EAGAIN)
	}))
	check(t, queueErr)
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	check(t, err)
	for _, m := range messages {
		if int(m.Header.Type) == unix.IP_RECVERR || int(m.Header.Type) == unix.IPV6_RECVERR {
			return parseReport(m.Data)
		}
	}
	t.Fatal("an error queue without errors")
	return icmpReport{}
}

// parseReport reads a struct sock_extended_err and the address behind it.
func parseReport(b []byte) icmpReport {
	size := int(unsafe.Sizeof(unix.SockExtendedErr{}))
	r := icmpReport{
		Errno: unix.Errno(binary.NativeEndian.Uint32(b)), Type: b[5], Code: b[6], Info: binary.NativeEndian.Uint32(b[8:]),
	}
	switch binary.NativeEndian.Uint16(b[size:]) {
	case unix.AF_INET:
		r.From = netip.AddrFrom4([4]byte(b[size+4:]))
	case unix.AF_INET6:
		r.From = netip.AddrFrom16([16]byte(b[size+8:]))
	}
	return r
}

// wire sees and sends the frames of an interface.
type wire struct{ fd, ifindex int }

func openWire(t *testing.T, ns, ifname string) *wire {
	t.Helper()
	const all = unix.ETH_P_ALL>>8 | unix.ETH_P_ALL&0xff<<8 // network order
	w := &wire{ifindex: testutil.Link(t, ns, ifname).Index}
	check(t, netns.Do(ns, func() (err error) {
		w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		return err
	}))
	t.Cleanup(func() { _ = unix.Close(w.fd) })
	check(t, unix.SetsockoptInt(w.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, stackBuffer))
	check(t, unix.Bind(w.fd, &unix.SockaddrLinklayer{Ifindex: w.ifindex, Protocol: all}))
	timeout := unix.NsecToTimeval(int64(stackLimit))
	check(t, unix.SetsockoptTimeval(w.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout))
	return w
}

func (w *wire) send(t *testing.T, frame []byte) {
	t.Helper()
	check(t, unix.Sendto(w.fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: w.ifindex}))
}

// receive returns the next IP packet that came in, and its frame, of those that
// are wanted.
func (w *wire) receive(t *testing.T, want func(p packet.Packet) bool) (p packet.Packet, frame []byte) {
	t.Helper()
	buffer := make([]byte, 1<<17)
	for {
		n, from, err := unix.Recvfrom(w.fd, buffer, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			t.Fatalf("nothing that is wanted came in: %v", err)
		}
		if from.(*unix.SockaddrLinklayer).Pkttype != unix.PACKET_HOST {
			continue
		}
		if p, err := packet.Parse(buffer[:n]); err == nil && want(p) {
			return p, buffer[:n]
		}
	}
}
