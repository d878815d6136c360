// SPDX-License-Identifier: Apache-2.0

package liveness

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-project/weft/internal/liveness/frame"
	"github.com/weft-project/weft/pkg/dataplane/xconnect"
)

// TestOldStatesNeverOvertake feeds states as the network may deliver them.
func TestOldStatesNeverOvertake(t *testing.T) {
	const first, second = 0xaaaa << bootShift, 0x5555 << bootShift // two boots of b
	for _, c := range []struct {
		name   string
		states []frame.Frame // of one tunnel
		up     bool
		acks   int
	}{
		{"in order", []frame.Frame{{Nonce: first + 1, Flags: frame.Up}, {Nonce: first + 2}}, false, 2},
		{"overtaken", []frame.Frame{{Nonce: first + 2, Flags: frame.Up}, {Nonce: first + 1}}, true, 1},
		{"repeated", []frame.Frame{{Nonce: first + 1, Flags: frame.Up}, {Nonce: first + 1, Flags: frame.Up}}, true, 2},
		{"state not known yet", []frame.Frame{{Nonce: first + 1, Flags: frame.Up}, {Nonce: first + 2, Flags: frame.Unknown}}, true, 2},
		{"later process", []frame.Frame{{Nonce: first + 1, Flags: frame.Up}, {Nonce: first + 1<<32}, {Nonce: first + 2, Flags: frame.Up}}, false, 2},
		{"later boot with lower nonce", []frame.Frame{{Nonce: first + 1, Flags: frame.Up}, {Nonce: second + 1}}, false, 2},
		{"earlier boot", []frame.Frame{{Nonce: first + 1, Flags: frame.Up}, {Nonce: second + 1}, {Nonce: first + 1, Flags: frame.Up}}, false, 2},
		{"the earlier boot is back", []frame.Frame{{Nonce: first + 1}, {Nonce: second + 1}, {Nonce: first + 2, Flags: frame.Up}}, true, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			simulate(t, func(t *testing.T, n *network, a, b *node) {
				ta := a.join(b, 5)
				if err := b.SetPeer(device, a.address); err != nil { // b's process says nothing
					t.Fatal(err)
				}
				within(t, time.Second, "b is alive", func() bool {
					a.process.mu.Lock()
					defer a.process.mu.Unlock()
					return a.process.tunnels[ta.Key()].peer.prober.status == alive
				})
				before := n.count(frame.StateAck)
				for _, s := range c.states {
					a.process.control(xconnect.Control{
						Tunnel: ta.Key(), Type: xconnect.ControlState, Flags: uint8(s.Flags), Nonce: s.Nonce,
					})
					synctest.Wait()
				}
				if !a.sees(ta, c.up, true)() {
					t.Errorf("carrier is not %v", c.up)
				}
				if acks := n.count(frame.StateAck) - before; acks != c.acks {
					t.Errorf("%d acks, want %d", acks, c.acks)
				}
			})
		})
	}
}

func TestManyBoots(t *testing.T) {
	var b boots
	for id := range uint64(3 * maxBoots) {
		want := switched
		if got := b.order(id<<bootShift | 1); got != want {
			t.Fatalf("boot %d: got %d, want %d", id, got, want)
		}
		if id > 0 && b.order((id-1)<<bootShift|1) != past {
			t.Fatalf("boot %d is not past", id-1)
		}
		if b.order(id<<bootShift|7) != present || len(b) > maxBoots {
			t.Fatalf("after boot %d: %v", id, b)
		}
	}
}

// TestLaterProcess takes the real clocks.
func TestLaterProcess(t *testing.T) {
	one := firstNonce()
	time.Sleep(10 * time.Microsecond)
	if two := firstNonce(); two <= one || two>>bootShift != one>>bootShift {
		t.Errorf("nonces begin at %#x and then at %#x", one, two)
	}
}
