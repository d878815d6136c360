// SPDX-License-Identifier: Apache-2.0

package vlan

import (
	"bytes"
	"os"
	"testing"
)

const (
	base  = 1000001
	other = 1000002
)

// ports: 11 and 12 in VLAN 100, 13 in 4094, 14 untagged, 15 in VLAN 100 of another
// base interface.
func withPorts(t testing.TB) *VLAN {
	t.Helper()
	v := unattached(t)
	must(t,
		v.write(Port{2000011, base, 100, mac(11)}), v.write(Port{2000012, base, 100, mac(12)}),
		v.write(Port{2000013, base, 4094, mac(13)}), v.write(Port{2000014, base, 0, mac(14)}),
		v.write(Port{2000015, other, 100, mac(15)}))
	return v
}

func TestFromPort(t *testing.T) {
	v := withPorts(t)
	away := mac(99)
	for _, c := range []struct {
		name    string
		ifindex int
		frame   []byte
		action  uint32
		reason  Reason
		to      int
		copies  int
		tag     int    // in the metadata
		out     []byte // nil: as it was
	}{
		{"tag is pushed", 2000011, frame(away, mac(11)), actRedirect, ToWire, base, 0, 100, nil},
		{"highest VLAN", 2000013, frame(away, mac(13)), actRedirect, ToWire, base, 0, 4094, nil},
		{"untagged", 2000014, frame(away, mac(14)), actRedirect, ToWire, base, 0, -1, nil},
		{"other base interface", 2000015, frame(away, mac(15)), actRedirect, ToWire, other, 0, 100, nil},
		{"sibling", 2000011, frame(mac(12), mac(11)), actRedirect, ToSibling, 2000012, 0, -1, nil},
		{"no sibling: another VLAN", 2000011, frame(mac(13), mac(11)), actRedirect, ToWire, base, 0, 100, nil},
		{"no sibling: another base interface", 2000011, frame(mac(15), mac(11)), actRedirect, ToWire, base, 0, 100, nil},
		{"broadcast", 2000011, frame(broadcast, mac(11)), actRedirect, FloodOut, base, 1, 100, nil},
		{"multicast, alone", 2000013, frame(multicast, mac(13)), actRedirect, FloodOut, base, 0, 4094, nil},
		{"its own tag within the VLAN's", 2000011, frame(away, mac(11), 7), actRedirect, ToWire, base, 0, 100, nil},
		{"untagged may not enter a VLAN", 2000014, frame(away, mac(14), 100), actShot, Tagged, 0, 0, -1, nil},
		{"untagged may not enter a service VLAN", 2000014, frame(away, mac(14), -100), actShot, Tagged, 0, 0, -1, nil},
		{"priority tag is no VLAN", 2000014, frame(away, mac(14), 0xe000), actRedirect, ToWire, base, 0, -1, nil},
		{"unknown port", 2000099, frame(away, mac(11)), actShot, NoPort, 0, 0, -1, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := run(t, v.objects.VlPort, c.ifindex, c.frame)
			if got.Action != c.action || got.Reason != c.reason || got.IfIndex != c.to || got.Copies != c.copies || got.Tag != c.tag {
				t.Errorf("got %v, want action %d, %v, to %d, %d copies, tag %d", got, c.action, c.reason, c.to, c.copies, c.tag)
			}
			if want := c.frame; !bytes.Equal(got.Frame, want) {
				t.Errorf("frame %x, want %x", got.Frame, want)
			}
		})
	}
}

func TestFromBase(t *testing.T) {
	v := withPorts(t)
	away := mac(99)
	for _, c := range []struct {
		name   string
		frame  []byte
		action uint32
		reason Reason
		to     int
		copies int
		out    []byte // nil: as it was
	}{
		{"tag is popped", frame(mac(11), away, 100), actRedirect, ToPort, 2000011, 0, frame(mac(11), away)},
		{"priority of a tag does not matter", frame(mac(12), away, 100|0xe000), actRedirect, ToPort, 2000012, 0, frame(mac(12), away)},
		{"untagged", frame(mac(14), away), actRedirect, ToPort, 2000014, 0, nil},
		{"priority tag is untagged", frame(mac(14), away, 0xe000), actRedirect, ToPort, 2000014, 0, frame(mac(14), away)},
		{"not for that VLAN's port", frame(mac(11), away, 4094), actShot, UnknownMAC, 0, 0, nil},
		{"not for a port of another base interface", frame(mac(15), away, 100), actShot, UnknownMAC, 0, 0, nil},
		{"tagged MAC, untagged frame: the host's", frame(mac(11), away), actUnspec, PassHost, 0, 0, nil},
		{"the host's", frame(mac(50), away), actUnspec, PassHost, 0, 0, nil},
		{"another VLAN is the host's", frame(mac(11), away, 101), actUnspec, PassVLAN, 0, 0, nil},
		{"service tag is the host's", frame(mac(11), away, -100), actUnspec, PassVLAN, 0, 0, nil},
		{"broadcast", frame(broadcast, away, 100), actShot, FloodIn, 0, 2, frame(broadcast, away)},
		{"multicast untagged, and to the host", frame(multicast, away), actUnspec, FloodIn, 0, 1, nil},
		{"own broadcast came back", frame(broadcast, mac(11), 100), actShot, Looped, 0, 0, nil},
		{"own untagged broadcast came back", frame(broadcast, mac(14)), actShot, Looped, 0, 0, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := run(t, v.objects.VlBase, base, c.frame)
			if got.Action != c.action || got.Reason != c.reason || got.IfIndex != c.to || got.Copies != c.copies || got.Tag != -1 {
				t.Errorf("got %v, want action %d, %v, to %d, %d copies", got, c.action, c.reason, c.to, c.copies)
			}
			want := c.out
			if want == nil {
				want = c.frame
			}
			if !bytes.Equal(got.Frame, want) {
				t.Errorf("frame %x, want %x", got.Frame, want)
			}
		})
	}
	t.Run("inner tag stays", func(t *testing.T) {
		got := run(t, v.objects.VlBase, base, frame(mac(11), away, 100, 7))
		if got.Reason != ToPort || got.Tag != 7 || !bytes.Equal(got.Frame, frame(mac(11), away)) {
			t.Errorf("got %v, want the inner tag in the metadata", got)
		}
	})
	t.Run("base interface without ports", func(t *testing.T) {
		if got := run(t, v.objects.VlBase, 1000003, frame(mac(14), away)); got.Reason != PassVLAN {
			t.Errorf("got %v", got)
		}
	})
}

func TestCounters(t *testing.T) {
	v := withPorts(t)
	for range 3 {
		run(t, v.objects.VlBase, base, frame(mac(11), mac(99), 100))
	}
	run(t, v.objects.VlPort, 2000011, frame(mac(99), mac(11)))
	counters, err := v.Counters()
	must(t, err)
	for reason, n := range counters {
		want := map[Reason]uint64{ToPort: 3, ToWire: 1}[reason]
		if n != want {
			t.Errorf("counter %v = %d, want %d", reason, n, want)
		}
	}
}

// Whoever meets a reason in a metric finds it in the documentation.
func TestReasonsAreDocumented(t *testing.T) {
	for _, file := range []string{"../../../docs/troubleshooting.md", "../../../bpf/README.md"} {
		text, err := os.ReadFile(file)
		must(t, err)
		for r := range reasonCount {
			if !bytes.Contains(text, []byte("`"+r.String()+"`")) {
				t.Errorf("%s does not tell of %s", file, r)
			}
		}
	}
}
