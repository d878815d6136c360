// SPDX-License-Identifier: Apache-2.0

package balancer

import (
	"slices"
	"testing"
)

func TestLinkReplaced(t *testing.T) {
	f := start(t, Stream{Name: "web"})
	f.join(1, "web")
	f.wantTable("web", 1)
	f.links.remove(101)
	f.wantTable("web")
	f.links.add(201, ifname(1))
	f.wantTable("web", 1)
	id := f.Snapshot().Target("target-1").ID
	f.plane.set(func() {
		if f.plane.targets[id].IfIndex != 201 {
			t.Errorf("target at %+v", f.plane.targets[id])
		}
	})
	f.wantPrograms(201) // the one on the old link is closed aside
	// Replaced without a word about the old one.
	f.links.add(301, ifname(1))
	f.wait(func(s Snapshot) bool {
		return s.Target("target-1").Legs[0].IfIndex == 301 && !s.Stream("web").Pending && s.Target("target-1").Legs[0].Up
	})
	f.wantTable("web", 1)
	f.wantPrograms(301)
}

// A target that leaves may still have packets to answer: its link keeps the
// reply program until it goes, or is used again.
func TestLinkOutlivesItsLeg(t *testing.T) {
	f := start(t, Stream{Name: "web"})
	for range 2 {
		f.join(1, "web")
		f.wantTable("web", 1)
		if err := f.Unregister(t.Context(), "conn-1"); err != nil {
			t.Fatal(err)
		}
		f.wait(func(s Snapshot) bool { return len(s.Targets) == 0 })
		f.wantPrograms(101)
		f.register(wish(1, "web"))
		f.wantTable("web", 1)
		if err := f.Unregister(t.Context(), "conn-1"); err != nil {
			t.Fatal(err)
		}
		f.wantPrograms(101)
		f.wait(func(s Snapshot) bool { return slices.Equal(s.Leaving, []string{ifname(1)}) })
		f.links.remove(101)
		f.wait(func(s Snapshot) bool { return len(s.Leaving) == 0 })
		f.wantPrograms()
	}
	f.join(1, "web")
	f.wantTable("web", 1)
	if err := f.Unregister(t.Context(), "conn-1"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	f.wantPrograms()
}

// A leg that goes while its link is being brought up, and comes again, does not
// get a second reply program.
func TestLegComesAgainMidway(t *testing.T) {
	f := start(t, Stream{Name: "web"})
	attach := make(chan struct{})
	f.plane.attach = attach
	f.join(1, "web")
	<-attach
	if err := f.Unregister(t.Context(), "conn-1"); err != nil {
		t.Fatal(err)
	}
	f.register(wish(1, "web"))
	attach <- struct{}{}
	f.wantTable("web", 1)
	f.wantPrograms(101)
	f.links.remove(101)
	f.wantPrograms()

	// The link goes in the middle.
	f.links.add(201, ifname(1))
	<-attach
	f.links.remove(201)
	attach <- struct{}{}
	f.wantPrograms()
}
