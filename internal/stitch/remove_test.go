// SPDX-License-Identifier: Apache-2.0

package stitch

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
)

// Interfaces are gone, and their names free, when deleteLinks returns, although
// the kernel has not finished; one that was gone before is no error.
func TestDeleteLinks(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	n := newNode(t, Options{})
	h := testutil.Handle(t, n.host)
	veth := func(i int) int {
		link, _, err := h.AddVeth(nl.Veth{
			Name: fmt.Sprint("outer", i), PeerName: fmt.Sprint("inner", i), PeerNetNS: n.workload, PeerUp: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		return link.Index
	}
	for range 20 {
		one, other, gone := veth(0), veth(1), veth(2)
		if err := h.DeleteLink(gone); err != nil {
			t.Fatal(err)
		}
		var group sync.WaitGroup
		for _, indices := range [][]int{nil, {one}, {other, gone}, {gone}} {
			group.Go(func() {
				if err := n.deleteLinks(indices); err != nil {
					t.Error(err)
				}
				for _, index := range indices {
					if link := n.present(t, index); link != 0 {
						t.Errorf("interface %d is still there", link)
					}
				}
			})
		}
		group.Wait()
	}
	if len(n.departures) != 0 {
		t.Errorf("departures %v remain", n.departures)
	}
}

// present returns the interface's index, 0 when it is gone.
func (n *node) present(t *testing.T, index int) int {
	t.Helper()
	h, err := nl.Open(n.host)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer func() { _ = h.Close() }()
	link, err := h.LinkByIndex(index)
	if err != nil && !errors.Is(err, nl.ErrNotFound) {
		t.Error(err)
	}
	return link.Index
}
