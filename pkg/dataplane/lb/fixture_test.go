// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf/perf"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/internal/packet"
	"github.com/weft-project/weft/internal/slowpath"
)

var (
	fixVIP4, fixVIP6 = netip.MustParseAddr("20.0.0.1"), netip.MustParseAddr("2000::1")
	fixSrc4, fixSrc6 = netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr("2001:db8::9")
	broadcast        = packet.MAC{255, 255, 255, 255, 255, 255}
	toUs             = packet.Ethernet{Dst: extMAC, Src: routerMAC}
	toTarget         = packet.Ethernet{Dst: targetMAC(1), Src: legMAC(1)}
	toSmall          = packet.Ethernet{Dst: targetMAC(3), Src: legMAC(3)}
)

// Ports of the rules that fixtures meet; each has the counters of its index + 1.
var fixPorts = []struct {
	port   uint16
	stream uint32
	target uint16 // port at the target
}{
	{port: webPort, stream: 1},
	{port: 443, stream: 2}, // without table
	{port: 444, stream: 3}, // slot without target
	{port: 445, stream: 4}, // deleted target
	{port: smallPort, stream: 5},
	{port: rulePort, stream: 1, target: ruleTarget},
	{port: natPort, stream: 1},
	{port: cutPort, stream: 5, target: cutTarget},
}

const (
	webPort                = 80
	smallPort              = 85 // to target 3, which has an MTU of smallMTU
	smallMTU               = 1280
	rulePort, ruleTarget   = 8080, 18080 // translated by a rule
	natPort, natTarget     = 90, 9090    // translated by a NAT
	cutPort, cutTarget     = 95, 9595    // translated by a rule, to target 3
	bytesPort              = 86          // needs certain bytes
	rangeFlow, insideFlow  = 20, 21      // see ranges
	bytesFlow, bytesStream = 22, 1
)

// ranges are VIPs around each other. All of them have the rule of the widest, the
// narrow one has another besides.
var ranges = map[string]struct{ wide, narrow netip.Prefix }{
	"4": {netip.MustParsePrefix("20.1.0.0/16"), netip.MustParsePrefix("20.1.2.0/24")},
	"6": {netip.MustParsePrefix("2000:1::/32"), netip.MustParsePrefix("2000:1:2::/48")},
}

// fixFamily has the headers of a client's packet as it comes and as it goes to a
// target, of a target's as it comes and as it goes to the client.
type fixFamily struct {
	name                         string
	in, out, reply, replied      packet.IP
	request, answer, unreachable uint8 // ICMP types
	gateway                      netip.Addr
}

var fixFamilies = []fixFamily{
	{
		"4", packet.IP{Src: fixSrc4, Dst: fixVIP4, TTL: 64}, packet.IP{Src: fixSrc4, Dst: fixVIP4, TTL: 63},
		packet.IP{Src: fixVIP4, Dst: fixSrc4, TTL: 64}, packet.IP{Src: fixVIP4, Dst: fixSrc4, TTL: 63},
		packet.EchoRequestV4, packet.EchoReplyV4, packet.UnreachableV4, netip.MustParseAddr("10.0.0.1"),
	},
	{
		"6", packet.IP{Src: fixSrc6, Dst: fixVIP6, TTL: 64}, packet.IP{Src: fixSrc6, Dst: fixVIP6, TTL: 63},
		packet.IP{Src: fixVIP6, Dst: fixSrc6, TTL: 64}, packet.IP{Src: fixVIP6, Dst: fixSrc6, TTL: 63},
		packet.EchoRequestV6, packet.EchoReplyV6, packet.UnreachableV6, netip.MustParseAddr("2001:db8::1"),
	},
}

var fixGateways = Gateways{
	Default4: []netip.Addr{fixFamilies[0].gateway}, Default6: []netip.Addr{fixFamilies[1].gateway},
}

var fixProtocols = []struct {
	name  string
	proto uint8
}{{"tcp", packet.TCP}, {"udp", packet.UDP}, {"sctp", packet.SCTP}}

func tagged(e packet.Ethernet, tags ...packet.Tag) packet.Ethernet {
	e.Tags = tags
	return e
}

// segment is a transport header and payload, from port 4000 of the client.
func segment(ip packet.IP, proto uint8, sport, dport uint16, payload []byte) []byte {
	switch proto {
	case packet.TCP:
		return ip.TCP(sport, dport, 0x18, payload)
	case packet.UDP:
		return ip.UDP(sport, dport, payload)
	case packet.SCTP:
		return ip.SCTP(sport, dport, payload)
	}
	return payload
}

// somebody is a payload of n bytes that are not all the same.
func somebody(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(3 + 7*i)
	}
	return b
}

// request is a packet of the client to a port.
func request(eth packet.Ethernet, ip packet.IP, proto uint8, port uint16) []byte {
	return ip.Packet(eth, proto, segment(ip, proto, 4000, port, []byte("hello")))
}

// response is a packet from a port of a target to the client.
func response(eth packet.Ethernet, ip packet.IP, proto uint8, port uint16) []byte {
	return ip.Packet(eth, proto, segment(ip, proto, port, 4000, []byte("hello")))
}

// flow4 and flow6 are packets that match a rule; ttl is that of the frame.
func flow4(eth packet.Ethernet, proto, ttl uint8, options []byte) []byte {
	return request(eth, packet.IP{Src: fixSrc4, Dst: fixVIP4, TTL: ttl, Options: options}, proto, webPort)
}

func flow6(eth packet.Ethernet, proto, ttl uint8, ext ...packet.Extension) []byte {
	return request(eth, packet.IP{Src: fixSrc6, Dst: fixVIP6, TTL: ttl, Extensions: ext}, proto, webPort)
}

func patch(frame []byte, at int, b ...byte) []byte {
	copy(frame[at:], b)
	return frame
}

// fixture is a frame and what becomes of it.
type fixture struct {
	name  string
	frame []byte
	want  Verdict
	out   []byte           // nil: dropped, handed over, or passed unchanged
	punts []slowpath.Event // what the slow path is handed
	reply bool             // from a leg
}

// because is a verdict that no rule is part of.
func because(r Reason) Verdict { return Verdict{Reason: r} }

// matched is a verdict on a packet to a port of fixPorts, before a target is found.
func matched(r Reason, port uint16) Verdict {
	i := slices.IndexFunc(fixPorts, func(p struct {
		port   uint16
		stream uint32
		target uint16
	}) bool {
		return p.port == port
	})
	return Verdict{Reason: r, Flow: uint32(i + 1), Stream: fixPorts[i].stream}
}

// chosen is a verdict on a packet to a port that leads to a target.
func chosen(r Reason, port uint16) Verdict {
	v := matched(r, port)
	v.Target = map[uint32]uint16{1: 1, 5: 3}[v.Stream]
	return v
}

// fixtureRules is what the fixtures meet: port 80 goes to target 1.
func fixtureRules(t testing.TB, l *LB) { setFixtureRules(t, l, Rules{MSSClamp: true}) }

func setFixtureRules(t testing.TB, l *LB, r Rules) {
	t.Helper()
	both := []netip.Prefix{netip.PrefixFrom(fixVIP4, 32), netip.PrefixFrom(fixVIP6, 128)}
	r.VIPs = slices.Clone(both)
	sources := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16"), netip.MustParsePrefix("2001:db8::/32")}
	port := func(p uint16) []classify.PortRange { return []classify.PortRange{{First: p, Last: p}} }
	for i, p := range fixPorts {
		r.Flows = append(r.Flows, classify.Rule{
			Name: fmt.Sprintf("port %d", p.port), VIPs: both, Stream: p.stream, Sources: sources, Flow: uint32(i + 1),
			DestinationPorts: port(p.port), TargetPort: p.target,
		})
	}
	r.Flows = append(r.Flows, classify.Rule{
		Name: "bytes", VIPs: both, Stream: bytesStream, Flow: bytesFlow, DestinationPorts: port(bytesPort),
		ByteMatches: []classify.ByteMatch{{Protocol: packet.UDP, Offset: 8, Width: 4, Value: 0x68656c6c}, {Protocol: packet.TCP, Offset: 2, Width: 2, Value: bytesPort}},
	})
	for _, f := range fixFamilies {
		v := ranges[f.name]
		r.VIPs = append(r.VIPs, v.wide, v.narrow)
		r.Flows = append(r.Flows,
			classify.Rule{Name: "wide" + f.name, VIPs: []netip.Prefix{v.wide}, Stream: 1, Flow: rangeFlow},
			classify.Rule{Name: "narrow" + f.name, Priority: 1, VIPs: []netip.Prefix{v.narrow}, Stream: 5, Flow: insideFlow, DestinationPorts: port(smallPort)})
		for _, p := range fixProtocols {
			for _, vip := range []netip.Prefix{netip.PrefixFrom(f.in.Dst, f.in.Dst.BitLen()), v.wide} {
				r.NATs = append(r.NATs, classify.NAT{VIP: vip, Protocol: p.proto, Port: natPort, TargetPort: natTarget})
			}
		}
		r.NATs = append(r.NATs, classify.NAT{VIP: v.narrow, Protocol: packet.UDP, Port: natPort, TargetPort: natTarget + 1})
	}
	check(t, l.SetGateways(fixGateways))
	check(t, l.SetRules(r))
	for stream, id := range map[uint32]uint16{1: 1, 3: 0, 4: 2, 5: 3} {
		check(t, l.SetTable(stream, []uint16{id}))
	}
	for id, mtu := range map[uint16]int{1: 0, 2: 0, 3: smallMTU} {
		mac, leg := targetMAC(int(id)), legMAC(int(id))
		check(t, l.SetTarget(id, Target{IfIndex: 1, MAC: mac[:], LegMAC: leg[:], MTU: mtu}))
	}
	check(t, l.DeleteTarget(2))
}

// fixtureWorld is a load balancer whose slow path is the test.
type fixtureWorld struct {
	*LB
	reader *perf.Reader // of what is handed over
	seen   map[Reason]bool
}

func newFixtureWorld(t testing.TB, cfg Config) *fixtureWorld {
	t.Helper()
	w := &fixtureWorld{LB: newLB(t, cfg), seen: make(map[Reason]bool)}
	w.takeOver(t)
	fixtureRules(t, w.LB)
	return w
}

// takeOver puts the test in the place of the slow path.
func (w *fixtureWorld) takeOver(t testing.TB) {
	t.Helper()
	check(t, w.slow.close())
	w.slow.reader = nil
	var err error
	w.reader, err = perf.NewReader(w.objs.LbPunts, puntBuffer)
	check(t, err)
	t.Cleanup(func() { check(t, w.reader.Close()) })
}

// punts returns what has been handed over since the last call.
func (w *fixtureWorld) punts(t testing.TB) (list []slowpath.Event) {
	t.Helper()
	w.reader.SetDeadline(time.Unix(1, 0))
	for {
		record, err := w.reader.Read()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return list
		}
		check(t, err)
		e, ok := puntEvent(record.RawSample)
		if !ok || record.LostSamples > 0 {
			t.Fatalf("record of %d bytes, %d lost: no event", len(record.RawSample), record.LostSamples)
		}
		if e.Kind != slowpath.Park && e.Kind != slowpath.Release {
			e.Key = slowpath.FragmentKey{}
		}
		if e.Kind == slowpath.Release {
			e.Frame = nil // what pads the record
		}
		list = append(list, e)
	}
}

// discard makes room for other records.
func (w *fixtureWorld) discard(t testing.TB) {
	t.Helper()
	w.reader.SetDeadline(time.Unix(1, 0))
	for {
		if _, err := w.reader.Read(); errors.Is(err, os.ErrDeadlineExceeded) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// counted is everything that the program counts, of the things that fixtures use.
type counted struct {
	Reasons                 [reasons]uint64
	Flows, Streams, Targets [32]Traffic
}

func (l *LB) counted(t testing.TB) (c counted) {
	t.Helper()
	counts, err := l.Counters()
	check(t, err)
	for r, n := range counts {
		c.Reasons[r] = n
	}
	for i := range uint32(24) {
		c.Flows[i], err = l.FlowTraffic(i)
		check(t, err)
	}
	for i := range uint32(6) {
		c.Streams[i], err = l.StreamTraffic(i)
		check(t, err)
	}
	for i := uint16(1); i < 5; i++ {
		c.Targets[i], err = l.TargetTraffic(i)
		check(t, err)
	}
	return c
}

// add counts a frame of which v was decided.
func (c *counted) add(v Verdict, length int) {
	c.Reasons[v.Reason]++
	switch v.Reason {
	case Forwarded, FragmentForwarded, ICMPForwarded, Fragmented:
		if v.Target == 0 {
			return // a reply
		}
		for _, t := range []*Traffic{&c.Flows[v.Flow], &c.Streams[v.Stream], &c.Targets[v.Target]} {
			t.Packets, t.Bytes = t.Packets+1, t.Bytes+uint64(length)
		}
	}
}

func (f fixture) run(t *testing.T, w *fixtureWorld) {
	t.Helper()
	want := w.counted(t)
	want.add(f.want, len(f.frame))
	test := w.testIn
	if f.reply {
		test = w.testReply
	}
	v, out, err := test(slices.Clone(f.frame))
	check(t, err)
	w.seen[v.Reason] = true
	if v.Reason == ReplyForwarded { // and which way, TestGatewayChoice says
		v.Gateway = netip.Addr{}
	}
	if v != f.want {
		t.Errorf("got %+v (%s), want %+v (%s)", v, v.Reason, f.want, f.want.Reason)
	}
	frame := f.out
	if frame == nil {
		frame = f.frame
	}
	lost := v.Reason.Drop() || v.Reason == Fragmented || v.Reason == FragmentParked
	if !lost && !slices.Equal(frame, out) {
		t.Errorf("frame differs (-want +got):\n%s", cmp.Diff(frame, out))
	}
	if got := w.counted(t); got != want {
		t.Errorf("counters differ (-want +got):\n%s", cmp.Diff(want, got))
	}
	for i := range f.punts {
		if f.reply {
			f.punts[i].Leg = w.id.ifindex
		}
	}
	if diff := cmp.Diff(f.punts, w.punts(t), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("slow path was handed other things (-want +got):\n%s", diff)
	}
}

// event completes what the slow path is handed about a frame, which it gets at
// most `most` bytes of.
func event(e slowpath.Event, frame []byte, l3, most int) []slowpath.Event {
	e.Frame, e.Length, e.L3 = frame[:min(most, len(frame))], len(frame), l3
	return []slowpath.Event{e}
}

// l3 is where the network header begins.
func l3(eth packet.Ethernet) int { return 14 + 4*len(eth.Tags) }
