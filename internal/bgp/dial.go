// SPDX-License-Identifier: Apache-2.0

package bgp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// dialTimeout is long enough for two repetitions of the SYN (after 1 and 3 s).
const dialTimeout = 4 * time.Second

// dial connects to the gateway. The error is what a person is told.
func dial(ctx context.Context, p Peer) (net.Conn, error) {
	before := readCounters()
	dialer := net.Dialer{Timeout: dialTimeout, KeepAlive: -1, Control: func(_, _ string, c syscall.RawConn) error {
		return control(c, func(fd int) error {
			send, least := p.ttls()
			if err := setTTLs(fd, p.Address.Is6(), send, least); err != nil {
				return err
			}
			// Not by the zone of the address: the net package remembers the index of a
			// name for a minute, and the interface may have been made anew.
			if p.remote().Zone() != "" {
				if err := unix.BindToDevice(fd, p.Interface); err != nil {
					return fmt.Errorf("use interface %s: %w", p.Interface, err)
				}
			}
			if p.Password == "" {
				return nil
			}
			return setPassword(fd, p.Address, p.Password)
		})
	}}
	dialer.SetMultipathTCP(false)
	c, err := dialer.DialContext(ctx, "tcp", netip.AddrPortFrom(p.Address, p.RemotePort).String())
	if err == nil {
		return c, nil
	}
	return nil, explainDial(p, err, readCounters().since(before))
}

func explainDial(p Peer, err error, seen counters) error {
	where := fmt.Sprintf("%v port %d", p.Address, p.RemotePort)
	var timeout net.Error
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("the gateway refuses connections to %s: no BGP there, or not for us", where)
	case errors.Is(err, unix.EHOSTUNREACH):
		return fmt.Errorf("the gateway can not be reached at %s: %w", where, unix.EHOSTUNREACH)
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("there is no route to the gateway at %s: %w", where, unix.ENETUNREACH)
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, unix.ETIMEDOUT):
		text := fmt.Sprintf("no answer to the TCP connection to %s", where)
		if hint := seen.explain(p); hint != "" {
			text += "; " + hint
		}
		return errors.New(text)
	}
	var call *net.OpError
	if errors.As(err, &call) {
		err = call.Err
	}
	return fmt.Errorf("connect to %s: %w", where, err)
}

// counters are those of the kernel's TCP that tell of segments that were dropped.
// They are of the whole namespace, and so are evidence, not proof.
type counters map[string]uint64

var counterNames = []string{"TCPMD5NotFound", "TCPMD5Unexpected", "TCPMD5Failure", "TCPMinTTLDrop"}

func readCounters() counters {
	text, err := os.ReadFile("/proc/thread-self/net/netstat")
	if err != nil {
		return nil
	}
	return parseCounters(string(text))
}

// parseCounters reads pairs of lines: names, then values.
func parseCounters(text string) counters {
	found := counters{}
	lines := strings.Split(text, "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		names, values := strings.Fields(lines[i]), strings.Fields(lines[i+1])
		if len(names) == 0 || names[0] != "TcpExt:" {
			continue
		}
		for j, name := range names {
			for _, wanted := range counterNames {
				if name == wanted && j < len(values) {
					var value uint64
					_, _ = fmt.Sscan(values[j], &value)
					found[name] = value
				}
			}
		}
	}
	return found
}

func (c counters) since(before counters) counters {
	difference := counters{}
	for name, value := range c {
		if value > before[name] {
			difference[name] = value - before[name]
		}
	}
	return difference
}

// explain says what the counters and our own options make likely.
func (c counters) explain(p Peer) string {
	switch {
	case p.TTLSecurity > 0 && c["TCPMinTTLDrop"] > 0:
		return fmt.Sprintf("%d TCP segments came with a lower TTL than TTL security allows, the gateway may not send with TTL 255 (TCPMinTTLDrop)", c["TCPMinTTLDrop"])
	case p.Password != "" && c["TCPMD5Failure"] > 0:
		return fmt.Sprintf("the gateway may have another MD5 password: %d TCP segments came with a wrong signature meanwhile (TCPMD5Failure)", c["TCPMD5Failure"])
	case p.Password != "" && c["TCPMD5NotFound"] > 0:
		return fmt.Sprintf("the gateway may have no MD5 password: %d TCP segments came without a signature meanwhile (TCPMD5NotFound)", c["TCPMD5NotFound"])
	case p.Password == "" && c["TCPMD5Unexpected"] > 0:
		return fmt.Sprintf("the gateway may expect an MD5 password: %d TCP segments came with a signature meanwhile (TCPMD5Unexpected)", c["TCPMD5Unexpected"])
	case p.Password != "":
		return "the gateway may have another MD5 password or none, or no BGP"
	}
	return ""
}
