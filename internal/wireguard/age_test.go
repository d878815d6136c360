// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/testutil"
)

// TestAge: a key that is too old is replaced by itself, also when an earlier
// Manager has made it, and the former ends.
func TestAge(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	a, _ := newPair(t, Userspace, nodeA, nodeB)
	a.open()
	offer := a.m.Offer()
	must(t, a.m.Close(true))
	a.cfg.Rotate, a.cfg.Grace = time.Hour, 1
	a.open()
	if a.m.Offer() != offer {
		t.Error("a young key was replaced")
	}
	now := time.Now()
	a.m.mu.Lock()
	a.m.sweep(now.Add(59 * time.Minute))
	early := a.m.current().public.String()
	a.m.sweep(now.Add(time.Hour))
	a.m.mu.Unlock()
	if early != offer.PublicKey {
		t.Error("the key was replaced before its time")
	}
	testutil.Eventually(t, awhile, "the end of the former key", func() bool { return a.generationCount() == 1 })
	if got := a.m.Offer(); got.PublicKey == offer.PublicKey || got.Port != offer.Port+1 {
		t.Errorf("offer %+v, want another key and the next port after %+v", got, offer)
	}
}

// TestOfferedKeyLingers: a request that has told the former key when a new one
// came goes on with it.
func TestOfferedKeyLingers(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	a, b := newPair(t, Userspace, nodeA, nodeB)
	a.open()
	b.open()
	a.m.mu.Lock()
	a.m.timing.linger = time.Hour
	a.m.mu.Unlock()
	told, answer := a.m.Offer(), b.m.Offer()
	path, err := b.m.Join(t.Context(), connection, a.peer(told, answer))
	must(t, err)
	b.stitch(path, b.endpoint())
	must(t, a.m.Rotate())
	path, err = a.m.Join(t.Context(), connection, b.peer(answer, told))
	must(t, err)
	a.stitch(path, a.client(b))
	to := b.serve()
	a.mustReach(to)
	request(t, a, b, func() {})
	a.mustReach(to)
}

// TestSocketIsPrivate: whoever can reach the control socket can read the key.
func TestSocketIsPrivate(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	a, _ := newPair(t, Userspace, nodeA, nodeB)
	must(t, os.Chmod(a.cfg.Dir, 0o755))
	old := unix.Umask(0)
	a.open()
	unix.Umask(old)
	info, err := os.Stat(filepath.Join(a.cfg.Dir, socketName(1)))
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the socket is %v", info.Mode())
	}
}
