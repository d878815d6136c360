// SPDX-License-Identifier: Apache-2.0

package xconnect

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/testutil"
)

// sendVXLAN sends a frame as another node would, from user space.
func sendVXLAN(t testing.TB, ns, from string, to netip.AddrPort, vni uint32, frame []byte) {
	t.Helper()
	c, err := testutil.Dial(t.Context(), ns, "udp", net.JoinHostPort(from, "0"), to.String())
	must(t, err)
	_, err = c.Write(append(binary.BigEndian.AppendUint32([]byte{8, 0, 0, 0}, vni<<8), frame...))
	must(t, err, c.Close())
}

// udpFrame is a datagram from the client's address to port 80 of the endpoint's.
func udpFrame(dst, src net.HardwareAddr, payload []byte) []byte {
	b := append(append(append([]byte{}, dst...), src...), 8, 0)
	ip := []byte{0x45, 0, 0, byte(28 + len(payload)), 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2}
	binary.BigEndian.PutUint16(ip[10:], ^fold(ip))
	udp := []byte{4, 0, 0, 80, 0, byte(8 + len(payload)), 0, 0} // without checksum
	return append(append(append(b, ip...), udp...), payload...)
}

func fold(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	return uint16(sum>>16 + sum)
}

// controlFrame is a control frame as in the program's sources.
func controlFrame(kind ControlType, flags uint8, nonce uint64) []byte {
	b := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5, 'W', 'E', 'F', 'T', 1, byte(kind), flags, 0}
	return binary.BigEndian.AppendUint64(b, nonce)
}

// ping sends an echo request and waits for its answer.
func ping(t testing.TB, ns string, to netip.Addr) {
	t.Helper()
	network, request, answer := "ip4:icmp", []byte{8, 0, 0, 0, 0, 7, 0, 1}, byte(0)
	binary.BigEndian.PutUint16(request[2:], ^fold(request))
	if to.Is6() { // there the kernel makes the checksum
		network, request, answer = "ip6:ipv6-icmp", []byte{128, 0, 0, 0, 0, 7, 0, 1}, 129
	}
	var c net.Conn
	must(t, netns.Do(ns, func() (err error) { c, err = net.Dial(network, to.String()); return err }))
	defer func() { _ = c.Close() }()
	must(t, c.SetDeadline(deadline()))
	_, err := c.Write(request)
	must(t, err)
	for buffer := make([]byte, 1500); ; {
		n, err := c.Read(buffer)
		must(t, err)
		message := buffer[:n]
		if to.Is4() {
			message = message[20:] // a raw socket shows the IP header
		}
		if message[0] == answer {
			return
		}
	}
}
