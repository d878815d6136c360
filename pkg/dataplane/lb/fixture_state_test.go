// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/packet"
	"github.com/weft-project/weft/internal/slowpath"
)

// TestFixtureStates are fixtures that need the load balancer in a certain state.
func TestFixtureStates(t *testing.T) {
	w := newFixtureWorld(t, Config{})
	for _, c := range []struct {
		name string
		test func(*testing.T, *fixtureWorld)
	}{
		{"first fragment releases", testFirstFragmentReleases}, {"fragment memory", testFragmentMemory},
		{"segments", testSegments}, {"clamp is an option", testClampIsAnOption}, {"echo needs a target", testEchoNeedsATarget},
		{"reply without gateway", testReplyWithoutGateway}, {"slow path limits", testSlowPathLimits}, {"without slow path", testWithoutSlowPath},
	} {
		fixtureRules(t, w.LB)
		t.Run(c.name, func(t *testing.T) { c.test(t, w) })
	}
}

// testFirstFragmentReleases: while the slow path waits, it is told of every first
// fragment, whatever became of it.
func testFirstFragmentReleases(t *testing.T, w *fixtureWorld) {
	w.slow.SetWaiting(true)
	for _, f := range fixFamilies {
		for name, c := range map[string]struct {
			ip    packet.IP
			proto uint8
			body  []byte
			want  Verdict
			out   func(id uint32) []byte
		}{
			"dropped": {f.in, packet.UDP, f.in.UDP(4000, 81, somebody(99)), because(DropNoFlow), nil},
			"forwarded": {f.in, packet.UDP, f.in.UDP(4000, natPort, somebody(99)), chosen(Forwarded, natPort), func(id uint32) []byte {
				f.out.ID = uint16(id)
				return packet.Fragments(f.out.Packet(toTarget, packet.UDP, f.out.UDP(4000, natTarget, somebody(99))), 48, id)[0]
			}},
		} {
			id := numbered(&c.ip)
			in := packet.Fragments(c.ip.Packet(toUs, c.proto, c.body), 48, id)
			fix := fixture{name: name + f.name, frame: in[0], want: c.want, punts: []slowpath.Event{{
				Kind: slowpath.Release, Key: f.key(id, c.proto), Length: len(in[0]),
			}}}
			if c.out != nil {
				fix.out = c.out(id)
			}
			t.Run(fix.name, func(t *testing.T) { fix.run(t, w) })
		}
	}
	w.slow.SetWaiting(false)
	ip := fixFamilies[0].in
	numbered(&ip)
	quiet := packet.Fragments(request(toUs, ip, packet.UDP, 81), 8, 0)[0]
	fixture{frame: quiet, want: because(DropNoFlow)}.run(t, w)
}

// testFragmentMemory: a first fragment is remembered for a time, and its target
// may be deleted meanwhile.
func testFragmentMemory(t *testing.T, w *fixtureWorld) {
	for _, f := range fixFamilies {
		list := fragmentsOf(toUs, f, packet.UDP, webPort, webPort)
		first, last, soon := list[1], list[2], list[0]
		first.run(t, w)
		last.run(t, w)
		check(t, w.DeleteTarget(1))
		gone := last
		gone.want, gone.out = matched(DropNoTarget, webPort), nil
		gone.run(t, w)
		mac, leg := targetMAC(1), legMAC(1)
		check(t, w.SetTarget(1, Target{IfIndex: 1, MAC: mac[:], LegMAC: leg[:]}))
		last.run(t, w)
		var note bpfLbFrag
		key := toFragKey(soon.punts[0].Key)
		check(t, w.objs.LbFrags.Lookup(key, &note))
		note.Time -= uint64(fragmentLife + 100*time.Millisecond)
		check(t, w.objs.LbFrags.Put(key, note))
		soon.run(t, w)
	}
}

// testWithoutSlowPath: what nobody takes is dropped.
func testWithoutSlowPath(t *testing.T, w *fixtureWorld) {
	check(t, w.reader.Pause())
	defer func() { check(t, w.reader.Resume()) }()
	f := fixFamilies[0]
	big := sized(toUs, f.in, 4000, smallPort, smallMTU+1)
	fixture{frame: big, want: chosen(DropTooBig, smallPort)}.run(t, w)
	reply := sized(toUs, f.reply, smallPort, 4000, 1501)
	fixture{frame: reply, want: because(DropTooBig), reply: true}.run(t, w)
	for _, f := range fixFamilies {
		soon := fragmentsOf(toUs, f, packet.UDP, webPort, webPort)[0]
		soon.want, soon.punts = because(DropFragment), nil
		soon.run(t, w)
	}
}

// testSlowPathLimits: a flood reaches the slow path no faster than it may.
func testSlowPathLimits(t *testing.T, w *fixtureWorld) {
	soon := fragmentsOf(toUs, fixFamilies[1], packet.UDP, webPort, webPort)[0].frame
	big := sized(toUs, fixFamilies[0].in, 4000, smallPort, smallMTU+1)
	for _, c := range []struct {
		frame       []byte
		taken, lost Reason
		burst, rate uint64
	}{
		{soon, FragmentParked, DropFragment, 2000, 50_000},
		{big, Fragmented, DropTooBig, 200, 2000},
	} {
		before := w.counted(t).Reasons
		const n = 100_000
		start := time.Now()
		flood(t, w.LB, w.objs.Lb, c.frame, n)
		// The clock of the program ticks every few milliseconds.
		most := c.burst + 1 + c.rate*uint64(time.Since(start)+10*time.Millisecond)/uint64(time.Second)
		after := w.counted(t).Reasons
		w.discard(t)
		taken, lost := after[c.taken]-before[c.taken], after[c.lost]-before[c.lost]
		t.Logf("%d %s, %d %s; at most %d", taken, c.taken, lost, c.lost, most)
		// Records that the ring has no room for are dropped as well.
		if taken+lost < n || taken > most || taken == 0 {
			t.Errorf("%d %s, %d %s; at most %d", taken, c.taken, lost, c.lost, most)
		}
	}
}

// flood runs a program n times on a frame.
func flood(t testing.TB, l *LB, p *ebpf.Program, frame []byte, n uint32) {
	t.Helper()
	check(t, netns.Do(l.cfg.NetNS, func() error {
		_, err := p.Run(&ebpf.RunOptions{
			Data: frame, Repeat: n, Context: skb{Ifindex: uint32(l.id.ifindex)},
		})
		return err
	}))
}

// gsoContext is struct __sk_buff of a packet that stands for several.
type gsoContext struct {
	_        [10]uint32
	Ifindex  uint32
	_        [29]uint32
	WireLen  uint32
	Segments uint32
	_        uint64
	Size     uint32
	_        [3]uint32
}

// testSegments: of a packet that stands for several, each is to fit the MTU.
func testSegments(t *testing.T, w *fixtureWorld) {
	for _, p := range fixProtocols[:2] {
		for _, f := range fixFamilies {
			whole := f.in
			frame := f.in.Packet(toUs, p.proto, segment(f.in, p.proto, 4000, cutPort, somebody(3000)))
			if f.name == "4" {
				whole.Fragment = packet.FragmentDF
			}
			must := whole.Packet(toUs, p.proto, segment(f.in, p.proto, 4000, cutPort, somebody(3000)))
			head := map[uint8]int{packet.TCP: 20, packet.UDP: 8}[p.proto] + f.header()
			fits, over := uint32(smallMTU-head), uint32(smallMTU-head+1)
			w.segments(t, frame, fits, chosen(Forwarded, cutPort), nil)
			w.segments(t, must, fits, chosen(Forwarded, cutPort), nil)
			tooBig := event(slowpath.Event{Kind: slowpath.TooBig, MTU: smallMTU}, must, 14, 1500)
			w.segments(t, must, over, chosen(DropTooBig, cutPort), tooBig)
			if f.name == "4" {
				e := cutEvent(smallMTU, 3, cutTarget)
				e.GSO = true
				w.segments(t, frame, over, chosen(Fragmented, cutPort), event(e, frame, 14, 1<<20))
			}
		}
	}
}

func (w *fixtureWorld) segments(t *testing.T, frame []byte, size uint32, want Verdict, punts []slowpath.Event) {
	t.Helper()
	var after skb
	check(t, netns.Do(w.cfg.NetNS, func() error {
		_, err := w.objs.Lb.Run(&ebpf.RunOptions{
			Data: frame, DataOut: make([]byte, len(frame)+frameSpace), ContextOut: &after,
			Context: gsoContext{Ifindex: uint32(w.id.ifindex), Segments: 3, Size: size},
		})
		return err
	}))
	if got := Reason(after.CB[0]); got != want.Reason || uint16(after.CB[2]) != want.Target {
		t.Errorf("segments of %d: %s to %d, want %s to %d", size, got, after.CB[2], want.Reason, want.Target)
	}
	if got := w.punts(t); !slices.EqualFunc(got, punts, sameEvent) {
		t.Errorf("segments of %d: handed over %+v, want %+v", size, got, punts)
	}
}

// sameEvent compares without the frame: the length of that tells enough.
func sameEvent(a, b slowpath.Event) bool {
	return a.Kind == b.Kind && a.MTU == b.MTU && a.Target == b.Target && a.Port == b.Port && a.GSO == b.GSO &&
		a.Length == b.Length && len(a.Frame) == len(b.Frame) && a.L3 == b.L3
}

// testReplyWithoutGateway needs gateways of the family.
func testReplyWithoutGateway(t *testing.T, w *fixtureWorld) {
	vips := []netip.Prefix{netip.PrefixFrom(fixVIP4, 32), netip.PrefixFrom(fixVIP6, 128)}
	for i, f := range fixFamilies {
		check(t, w.SetRules(Rules{VIPs: vips}))
		one := fixGateways
		if i == 0 {
			one.Default4 = nil
		} else {
			one.Default6 = nil
		}
		check(t, w.SetGateways(one))
		fixture{frame: response(toUs, f.reply, packet.TCP, webPort), want: because(DropNoGateway), reply: true}.run(t, w)
		o := fixFamilies[1-i]
		fixture{
			frame: response(toUs, o.reply, packet.TCP, webPort), want: because(ReplyForwarded), out: response(toUs, o.replied, packet.TCP, webPort), reply: true,
		}.run(t, w)
	}
	// Malformed comes before, and TTL after.
	check(t, w.SetGateways(Gateways{}))
	for _, f := range fixFamilies {
		f.reply.TTL = 1
		fixture{frame: response(toUs, f.reply, packet.TCP, webPort), want: because(DropNoGateway), reply: true}.run(t, w)
		fixture{frame: f.reply.Packet(toUs, packet.TCP, nil), want: because(DropMalformed), reply: true}.run(t, w)
	}
}

// testClampIsAnOption: without it, options stay.
func testClampIsAnOption(t *testing.T, w *fixtureWorld) {
	setFixtureRules(t, w.LB, Rules{})
	for _, f := range fixFamilies {
		syn := func(link packet.Ethernet, ip packet.IP) []byte {
			return ip.Packet(link, packet.TCP, ip.TCPOptions(4000, smallPort, packet.SYN, packet.MSS(9000), nil))
		}
		fixture{frame: syn(toUs, f.in), want: chosen(Forwarded, smallPort), out: syn(toSmall, f.out)}.run(t, w)
	}
}

// testEchoNeedsATarget: a VIP whose streams have no table does not answer.
func testEchoNeedsATarget(t *testing.T, w *fixtureWorld) {
	check(t, w.ClearTable(1))
	for _, f := range fixFamilies {
		around, answered := f.in, f.reply
		around.Dst, answered.Src = ranges[f.name].wide.Addr(), ranges[f.name].wide.Addr()
		fixture{frame: message(toUs, around, f.request, 0, somebody(8)), want: because(DropNoTarget)}.run(t, w)
		// The narrow range has a rule to another stream.
		around.Dst, answered.Src = ranges[f.name].narrow.Addr(), ranges[f.name].narrow.Addr()
		back := packet.Ethernet{Dst: toUs.Src, Src: extMAC}
		fixture{frame: message(toUs, around, f.request, 0, somebody(8)), want: because(EchoAnswered), out: message(back, answered, f.answer, 0, somebody(8))}.run(t, w)
		id := numbered(&f.in)
		cut := packet.Fragments(message(toUs, f.in, f.request, 0, somebody(99)), 48, id)
		fixture{frame: cut[0], want: because(EchoAnswered), out: cut[0]}.runLike(t, w)
		for _, stream := range []uint32{3, 4, 5} {
			check(t, w.ClearTable(stream))
		}
		id = numbered(&f.in)
		cut = packet.Fragments(message(toUs, f.in, f.request, 0, somebody(99)), 48, id)
		for _, frame := range cut {
			fixture{frame: frame, want: because(DropNoTarget)}.run(t, w)
		}
		fixtureRules(t, w.LB)
		check(t, w.ClearTable(1))
	}
}

// runLike looks only at the reason.
func (f fixture) runLike(t *testing.T, w *fixtureWorld) {
	t.Helper()
	if v, _, err := w.testIn(f.frame); err != nil || v.Reason != f.want.Reason {
		t.Errorf("got %s, %v, want %s", v.Reason, err, f.want.Reason)
	}
}
