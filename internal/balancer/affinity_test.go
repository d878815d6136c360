// SPDX-License-Identifier: Apache-2.0

package balancer_test

import (
	"net"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/balancer/lbtest"
	"github.com/weft-project/weft/internal/testutil"
)

// TestAffinity: with affinity, established connections stay with a target that
// drains, or is joined by another one, while new ones go by the table; without it
// they move with their slots.
func TestAffinity(t *testing.T) {
	r := newReplica(t)
	config := r.router.Config(1)
	config.Affinity = 1000
	r.must(r.SetConfig(t.Context(), config))
	r.connect(0)
	r.must(r.Register(t.Context(), target(0)))
	r.wantTable(0)
	old := r.dial(40)
	if failed := talk(t, old); failed > 0 {
		t.Fatalf("%d of %d connections do not work", failed, len(old))
	}
	// Another target takes half of the slots, and none of the connections.
	r.connect(1)
	r.must(r.Register(t.Context(), target(1)))
	r.wantTable(0, 1)
	before := r.packets(1)
	if failed := talk(t, old); failed > 0 || r.packets(1) != before {
		t.Errorf("%d connections broke, the new target got %d of their packets", failed, r.packets(1)-before)
	}
	// The old one drains: it keeps what it has and gets nothing new.
	drained := target(0)
	drained.Draining = true
	r.must(r.Register(t.Context(), drained))
	r.wantTable(1)
	if failed := talk(t, old); failed > 0 {
		t.Errorf("%d connections broke when their target drained", failed)
	}
	before = r.packets(0)
	if failed := talk(t, r.dial(40)); failed > 0 || r.packets(0) != before {
		t.Errorf("%d new connections failed, the draining target got %d of their packets", failed, r.packets(0)-before)
	}
	// All targets drain: no table is left, and nobody is cut off.
	drained = target(1)
	drained.Draining = true
	r.must(r.Register(t.Context(), drained))
	r.wantTable()
	if failed := talk(t, old); failed > 0 {
		t.Errorf("%d connections broke when all targets drained", failed)
	}
	// Without affinity there is nothing to stay by.
	r.must(r.Register(t.Context(), target(1)))
	r.wantTable(1)
	config.Affinity = 0
	r.must(r.SetConfig(t.Context(), config))
	if failed := talk(t, old); failed != len(old) {
		t.Errorf("%d of %d connections survive without affinity", len(old)-failed, len(old))
	}
}

// dial opens connections to both VIPs.
func (r *replica) dial(n int) []net.Conn {
	r.t.Helper()
	var conns []net.Conn
	for i := range n {
		c, err := testutil.Dial(r.t.Context(), r.router.NetNS, "tcp", "", lbtest.Remote([]string{"4", "6"}[i%2], port))
		r.must(err)
		r.t.Cleanup(func() { _ = c.Close() })
		conns = append(conns, c)
	}
	return conns
}

// talk has every connection echo a word and returns how many do not.
func talk(t *testing.T, conns []net.Conn) (failed int) {
	t.Helper()
	for _, c := range conns {
		if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		buffer := make([]byte, 5)
		_, err := c.Write([]byte("hello"))
		if err == nil {
			_, err = c.Read(buffer)
		}
		if err != nil {
			failed++
		}
	}
	return failed
}
