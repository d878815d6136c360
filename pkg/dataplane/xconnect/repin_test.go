// SPDX-License-Identifier: Apache-2.0

package xconnect

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/testutil"
)

// losePins takes pins away in the ways there are.
var losePins = map[string]func(t *testing.T, dir string){
	"removed": func(t *testing.T, dir string) {
		must(t, os.RemoveAll(dir))
	},
	"some": func(t *testing.T, dir string) {
		must(t, os.Remove(filepath.Join(dir, pinned["xc_tunnels"])), os.Remove(filepath.Join(dir, pinned["xc_peers"])))
	},
	"unmounted": func(t *testing.T, dir string) {
		must(t, unix.Unmount(filepath.Dir(dir), unix.MNT_DETACH))
	},
}

// Pins vanish, a process goes, and the next takes over what it finds in the
// kernel: no packet is lost, and everything is known.
func TestLostPins(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	for name, lose := range losePins {
		t.Run(name, func(t *testing.T) {
			dir := pinDir(t)
			n := newNodes(t, "IPv4", Config{PinDir: dir})
			s := stream(t, [][2]spoke{{n.client, n.endpoint}})
			before, err := n.a.x.State()
			must(t, err)
			x := n.a.x
			for i := range 4 {
				lose(t, dir)
				if lost := x.LostPins(); len(lost) == 0 {
					t.Error("nothing is missed")
				}
				repins := i%2 == 1
				if repins {
					must(t, x.Repin())
					if lost := x.LostPins(); len(lost) != 0 {
						t.Errorf("still lost: %v", lost)
					}
				}
				sent := s.sent.Load()
				must(t, x.Close(true))
				s.passes(t, sent+200)
				if name == "unmounted" && !repins {
					must(t, unix.Mount("bpf", filepath.Dir(dir), "bpf", 0, ""))
				}
				x, err = Open(Config{NetNS: n.a.ns, PinDir: dir, Gateway: mac(byte(i))})
				must(t, err, x.AttachDevice(n.a.device.Index()))
				s.passes(t, s.sent.Load()+200)
				if lost := x.LostPins(); len(lost) != 0 {
					t.Errorf("still lost: %v", lost)
				}
				after, err := x.State()
				must(t, err)
				if len(after.Clients) != len(before.Clients) || len(after.Tunnels) != len(before.Tunnels) {
					t.Errorf("adopted %+v, want %+v", after, before)
				}
			}
			s.lossless(t)
			must(t, x.Close(false))
		})
	}
}
