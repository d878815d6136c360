// SPDX-License-Identifier: Apache-2.0

package stitch

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-project/weft/internal/testutil"
)

// Pins that somebody removes are noticed, by a check and by and by, and a
// process that starts without them adopts all the same.
func TestPinsVanish(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	opts := pinned(t)
	n := newNode(t, opts)
	n.connect(t, n.leg(0), n.leg(1))
	before := n.state(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	count := func() int {
		pins, err := filepath.Glob(filepath.Join(opts.PinDir, "*"))
		must(err)
		return len(pins)
	}
	all := count()
	must(os.RemoveAll(opts.PinDir))
	if found := n.check(t, false); len(found) != all || found[0].Kind != KindPin || found[0].Repaired {
		t.Errorf("found %+v, want %d pins", found, all)
	}
	if found := n.check(t, true); len(found) != all || !found[0].Repaired || count() != all {
		t.Errorf("not repaired: %+v", found)
	}
	if found := n.check(t, false); len(found) != 0 {
		t.Errorf("after the repair: %+v", found)
	}

	must(os.RemoveAll(opts.PinDir))
	must(n.Close(true))
	n.opts.pinCheck = time.Millisecond
	next, err := New(n.opts)
	must(err)
	t.Cleanup(func() { must(next.Close(false)) })
	n.Stitcher = next
	n.connect(t, n.leg(0), n.leg(1))
	if diff := cmp.Diff(before, n.state(t)); diff != "" {
		t.Errorf("not adopted: %s", diff)
	}
	must(os.RemoveAll(opts.PinDir))
	testutil.Eventually(t, limit, "the pins", func() bool { return count() == all })
}
