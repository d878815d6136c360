// SPDX-License-Identifier: Apache-2.0

package bfdnet

import (
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/bfd"
	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/testutil"
)

// Packets are received and sent without an allocation: nothing is collected
// because of them.
func TestPacketsAllocateNothing(t *testing.T) {
	if raced() {
		t.Skip("the race detector allocates")
	}
	testutil.CheckLeaks(t)
	w := newWire(t, 1)
	for name, auth := range map[string]*bfd.Auth{"plain": nil, "SHA1": {Type: bfd.MeticulousKeyedSHA1, KeyID: 1, Key: []byte("woven")}} {
		t.Run(name, func(t *testing.T) {
			here, there, _ := everyLink(1, bfd.Config{MinTx: time.Millisecond, MinRx: time.Millisecond, Multiplier: 255, Auth: auth})
			ours, theirs := unthreaded(t, w.ours, here), unthreaded(t, w.theirs, there)
			// packets lets both work until each of ours has received one more.
			packets := func() {
				for _, session := range ours.sessions {
					for before := session.machine.Status().Received; session.machine.Status().Received == before; {
						for _, s := range [...]*Speaker{ours, theirs} {
							s.receive()
							s.timers(time.Now())
						}
					}
				}
			}
			up := func() bool {
				packets()
				for _, session := range ours.sessions {
					if session.machine.State() != bfd.Up || session.machine.TxInterval() != time.Millisecond {
						return false
					}
				}
				return true
			}
			testutil.Eventually(t, upLimit, "the sessions are up", up)
			if n := testing.AllocsPerRun(200, packets); n != 0 {
				t.Errorf("%v allocations for two packets each way", n)
			}
		})
	}
}

// unthreaded is a speaker that works when the test lets it.
func unthreaded(t *testing.T, ns string, sessions []Session) *Speaker {
	t.Helper()
	s := newIdle(Options{})
	if err := netns.Do(ns, func() error { return s.apply(sessions, time.Now()) }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.end() })
	return s
}

// raced tells whether the race detector is built in.
func raced() bool {
	info, _ := debug.ReadBuildInfo()
	return info != nil && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}
