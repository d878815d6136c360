// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/testutil"
)

// TestModes: where the program runs, and where it cannot.
func TestModes(t *testing.T) {
	testutil.CheckLeaks(t)
	ns := external(t)
	mode := func(iface string, m Mode) (Mode, error) {
		l, err := New(Config{NetNS: ns, Interface: iface, Mode: m})
		if err != nil {
			return 0, err
		}
		defer func() { check(t, l.Close()) }()
		check(t, l.SetRules(Rules{VIPs: []netip.Prefix{netip.PrefixFrom(fixVIP4, 32)}}))
		return l.Mode(), nil
	}
	for _, c := range []struct {
		iface string
		mode  Mode
		want  Mode
		err   string
	}{
		{"ext", ModeAuto, ModeTCX, ""}, // which a veth is faster with
		{"ext", ModeTCX, ModeTCX, ""},
		{"ext", ModeXDP, 0, "xdp on ext: the driver takes VLAN tags out of frames; turn that off: ethtool -K ext rxvlan off"},
		{"lo", ModeXDP, 0, "ask the driver of lo: ethtool driver info: "}, // which has none
		{"ext", ModeXDP + 1, 0, "Mode 3: unknown"},
	} {
		got, err := mode(c.iface, c.mode)
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s, %s: %s, %v, want %s, %q", c.iface, c.mode, got, err, c.want, c.err)
		}
	}
	ethtool(t, ns, unix.ETHTOOL_GFLAGS, unix.ETHTOOL_SFLAGS, without(ethtoolRxVLAN))
	for m, want := range map[Mode]Mode{ModeXDP: ModeXDP, ModeAuto: ModeTCX} {
		if got, err := mode("ext", m); err != nil || got != want {
			t.Errorf("%s without rxvlan: %s, %v, want %s", m, got, err, want)
		}
	}
}

func TestModeNames(t *testing.T) {
	for _, m := range []Mode{ModeAuto, ModeTCX, ModeXDP} {
		if got, err := ParseMode(m.String()); err != nil || got != m {
			t.Errorf("%s: got %s, %v", m, got, err)
		}
	}
	if m, err := ParseMode(""); err != nil || m != ModeAuto {
		t.Errorf("got %s, %v", m, err)
	}
	if _, err := ParseMode("XDP"); err == nil || err.Error() != `mode "XDP": neither auto, tcx nor xdp` {
		t.Errorf("got %v", err)
	}
	if got := Mode(9).String(); got != "mode_9" {
		t.Errorf("got %s", got)
	}
}

// TestXDPReload: other programs take the place of all that are attached.
func TestXDPReload(t *testing.T) {
	testutil.CheckLeaks(t)
	ns := external(t)
	ethtool(t, ns, unix.ETHTOOL_GFLAGS, unix.ETHTOOL_SFLAGS, without(ethtoolRxVLAN))
	l := newLB(t, Config{NetNS: ns, VLAN: 100, Mode: ModeXDP})
	vip := netip.PrefixFrom(fixVIP4, 32)
	programs := make(map[ebpf.ProgramID]bool)
	for _, r := range []Rules{
		{VIPs: []netip.Prefix{vip}},
		{VIPs: []netip.Prefix{vip}, Flows: manyRules(3000, vip)},
		{VIPs: []netip.Prefix{vip}, Flows: manyRules(3000, vip), Affinity: 100},
		{VIPs: []netip.Prefix{vip}},
	} {
		check(t, l.SetRules(r))
		if m := l.Mode(); m != ModeXDP {
			t.Errorf("mode %s", m)
		}
		var attached, loaded []ebpf.ProgramID
		for _, lk := range l.links {
			info, err := lk.link.Info()
			check(t, err)
			attached = append(attached, info.Program)
		}
		for _, p := range []*ebpf.Program{l.objs.Lb, l.objs.LbEgress, l.objs.xdp} {
			info, err := p.Info()
			check(t, err)
			id, _ := info.ID()
			loaded = append(loaded, id)
		}
		if !slices.Equal(attached, loaded) {
			t.Errorf("attached are %v, loaded %v", attached, loaded)
		}
		programs[attached[2]] = true
		if verdict, _, _, err := runXDP(l.objs.xdp, request(fixtureLinks[100]["tagged"], fixFamilies[0].in, 17, 81)); err != nil || verdict != xdpDrop {
			t.Errorf("a packet without flow: %d, %v", verdict, err)
		}
	}
	if len(programs) != 4 {
		t.Errorf("%d programs, want one for each shape", len(programs))
	}
	counts, err := l.Counters()
	check(t, err)
	if counts[DropNoFlow] != 4 {
		t.Errorf("%d drops, want those of all programs", counts[DropNoFlow])
	}
}
