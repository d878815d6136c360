// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// TestUDP has connected and unconnected sockets ask and be answered by whom they
// asked.
func TestUDP(t *testing.T) {
	const flows, requests = 100, 20
	eachOffload(t, 3, func(t *testing.T, s *stacks, _ bool) {
		eachVersion(t, func(t *testing.T, v ipVersion) {
			to := netip.AddrPortFrom(v.vip, 53)
			for _, ns := range s.targets {
				echoUDP(t, ns, to)
			}
			failed := make(chan error, 2*flows)
			for i := range flows {
				connected := dialUDP(t, s.client, netip.AddrPort{}, to)
				free := listenUDP(t, s.client, netip.AddrPortFrom(v.client, 0))
				check(t, free.SetDeadline(time.Now().Add(stackLimit)))
				go func() {
					failed <- askTimes(requests, i, to, func(b []byte) (int, netip.AddrPort, error) {
						if _, err := connected.Write(b); err != nil {
							return 0, to, err
						}
						n, err := connected.Read(b)
						return n, to, err
					})
				}()
				go func() {
					failed <- askTimes(requests, i, to, func(b []byte) (int, netip.AddrPort, error) {
						if _, err := free.WriteToUDPAddrPort(b, to); err != nil {
							return 0, to, err
						}
						return free.ReadFromUDPAddrPort(b)
					})
				}()
			}
			for range cap(failed) {
				if err := <-failed; err != nil {
					t.Error(err)
				}
			}
		})
		for i, n := range s.traffic(t) {
			if n.Packets == 0 {
				t.Errorf("target %d got nothing", i)
			}
		}
	})
}

// askTimes makes exchanges, each of another text, and checks answers and who sent
// them.
func askTimes(times, flow int, to netip.AddrPort, exchange func(b []byte) (int, netip.AddrPort, error)) error {
	var errs []error
	for i := range times {
		text := fmt.Sprintf("request %d of flow %d", i, flow)
		b := []byte(text)
		n, from, err := exchange(b)
		if err != nil {
			return err
		}
		if string(b[:n]) != text || from != to {
			errs = append(errs, fmt.Errorf("answer %q from %s, want %q from %s", b[:n], from, text, to))
		}
	}
	return errors.Join(errs...)
}
