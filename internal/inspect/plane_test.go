// SPDX-License-Identifier: Apache-2.0

package inspect_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/balancer"
	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/internal/inspect"
	"github.com/weft-project/weft/internal/inspect/inspecttest"
	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/packet"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/pkg/dataplane/lb"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// program loads the program in a namespace between its external interface and
// one that is outside. Its targets are places that nothing is sent to.
func program(t *testing.T) (plane *lb.LB, outside string) {
	testutil.Require(t, "bpf", "netns")
	ns, outside := testutil.NetNS(t), testutil.NetNS(t)
	h := testutil.Handle(t, ns)
	link, _, err := h.AddVeth(nl.Veth{
		Name: "ext0", MAC: inspecttest.MAC[:], PeerName: "far", PeerNetNS: outside, PeerUp: true,
	})
	check(t, err)
	check(t, h.SetUp(link.Index))
	plane, err = lb.New(lb.Config{NetNS: ns, Interface: "ext0"})
	check(t, err)
	t.Cleanup(func() {
		if err := plane.Close(); err != nil {
			t.Error(err)
		}
	})
	check(t, plane.SetTarget(7, lb.Target{IfIndex: 1, MAC: inspecttest.Target[:], LegMAC: inspecttest.Leg[:]}))
	return plane, outside
}

// replica has the plane do what a state says.
func replica(t *testing.T, plane *lb.LB, state *inspecttest.State) inspect.Replica {
	t.Helper()
	c := state.Configuration
	rules := lb.Rules{VIPs: c.VIPs, NATs: c.NATs}
	for _, f := range c.Flows {
		rule := f.Rule
		rule.Stream = state.Now.Stream(f.Stream).ID
		for _, s := range state.Now.Flows {
			if s.Name == rule.Name {
				rule.Flow = s.ID
			}
		}
		rules.Flows = append(rules.Flows, rule)
	}
	check(t, plane.SetRules(rules))
	check(t, plane.SetGateways(state.Now.Gateways))
	for _, s := range state.Now.Streams {
		if len(s.Targets) > 0 {
			check(t, plane.SetTable(s.ID, slices.Repeat([]uint16{7}, inspecttest.TableSize)))
		}
	}
	r := inspecttest.New("lb-1", plane)
	r.State = state
	return r
}

// generator makes random rules, and packets near them.
type generator struct{ *rand.Rand }

func (g generator) port() uint16 { return uint16(78 + g.IntN(5)) }

// state has three flows for each stream.
func (g generator) state() *inspecttest.State {
	state := inspecttest.NewState()
	c := &state.Configuration
	c.NATs, c.Flows, state.Now.Flows = nil, nil, nil
	for i := range 3 * len(state.Now.Streams) {
		stream := state.Now.Streams[i/3].Name
		first := g.port()
		rule := classify.Rule{
			Name: fmt.Sprintf("flow-%d", i), Priority: int32(g.IntN(3)), VIPs: c.VIPs[g.IntN(2):],
			DestinationPorts: []classify.PortRange{{First: first, Last: first + uint16(g.IntN(2))}},
			Protocols:        [][]uint8{nil, {classify.TCP}, {classify.UDP, classify.SCTP}}[g.IntN(3)],
		}
		if g.IntN(2) == 0 {
			rule.Sources = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/25"), netip.MustParsePrefix("2001:db8::/64")}
		}
		if g.IntN(2) == 0 {
			rule.ByteMatches = []classify.ByteMatch{{Protocol: classify.TCP, Offset: 1, Width: 1, Mask: 3, Value: uint32(g.IntN(4))}}
		}
		state.Now.Flows = append(state.Now.Flows, balancer.FlowState{Name: rule.Name, ID: uint32(100 - i), Stream: stream})
		c.Flows = append(c.Flows, balancer.Flow{Stream: stream, Rule: rule})
	}
	for port := uint16(78); port < 83; port++ {
		if g.IntN(2) == 0 {
			nat := classify.NAT{VIP: c.VIPs[g.IntN(3)], Protocol: []uint8{classify.TCP, classify.UDP, classify.SCTP}[g.IntN(3)], Port: port, TargetPort: port + 1000}
			c.NATs = append(c.NATs, nat)
		}
	}
	return state
}

// frame returns a packet, or an ICMP error about the answer to it.
func (g generator) frame(reply bool) []byte {
	ip := packet.IP{
		Src: netip.AddrFrom4([4]byte{198, 51, 100, byte(g.IntN(256))}), Dst: inspecttest.VIP4, TTL: uint8(1 + g.IntN(3)),
	}
	switch g.IntN(4) {
	case 0:
		ip.Src, ip.Dst = netip.MustParseAddr("2001:db8::7"), inspecttest.VIP6
	case 1:
		ip.Dst = inspecttest.Range.Addr()
	}
	if g.IntN(20) == 0 {
		ip.Dst = ip.Src
	}
	sport, dport := uint16(1000+g.IntN(8)), g.port()
	if reply {
		ip.Src, ip.Dst = ip.Dst, ip.Src
		sport, dport = dport+uint16(1000*g.IntN(2)), sport
	}
	if ip.Dst.Is4() && g.IntN(10) == 0 {
		ip.Fragment = []uint16{packet.FragmentMF, packet.FragmentDF, 10}[g.IntN(3)]
	}
	if g.IntN(10) == 0 {
		return g.icmp(ip, sport, dport)
	}
	proto, transport := g.transport(ip, sport, dport)
	if g.IntN(20) == 0 {
		transport = transport[:7]
	}
	return ip.Packet(toUs, proto, transport)
}

func (g generator) transport(ip packet.IP, sport, dport uint16) (uint8, []byte) {
	switch proto := []uint8{packet.TCP, packet.UDP, packet.SCTP}[g.IntN(3)]; proto {
	case packet.TCP:
		return proto, ip.TCP(sport, dport, packet.SYN, nil)
	case packet.UDP:
		return proto, ip.UDP(sport, dport, nil)
	default:
		return proto, ip.SCTP(sport, dport, nil)
	}
}

func (g generator) icmp(ip packet.IP, sport, dport uint16) []byte {
	back := packet.IP{Src: ip.Dst, Dst: ip.Src}
	proto, transport := g.transport(back, dport, sport)
	kinds := []uint8{packet.EchoRequestV4, packet.EchoReplyV4, packet.UnreachableV4, packet.TimeExceededV4}
	if !ip.Src.Is4() {
		kinds = []uint8{packet.EchoRequestV6, packet.EchoReplyV6, packet.UnreachableV6, packet.TooBigV6}
	}
	quote := back.Packet(packet.Ethernet{}, proto, transport)[14:]
	icmp, message := ip.ICMP(kinds[g.IntN(4)], 0, append(make([]byte, 4), quote...))
	return ip.Packet(toUs, icmp, message)
}

// The explanation agrees with the real program on random packets near random
// rules.
func TestExplanationAgreesWithTheProgram(t *testing.T) {
	plane, _ := program(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	g := generator{rand.New(rand.NewPCG(seed, 1))}
	seen := map[string]int{}
	for range 50 {
		state := g.state()
		r := replica(t, plane, state)
		for range 200 {
			reply := g.IntN(5) == 0
			d := trace(t, r, g.frame(reply), reply)
			if len(d.Disagreements) > 0 {
				t.Fatalf("reply %v, %+v:\n%q\nflows %+v", reply, d.Packet, d.Disagreements, state.Configuration.Flows)
			}
			seen[d.Reason.Name]++
		}
	}
	for _, reason := range []string{"forwarded", "no_flow", "no_target", "ttl_expired", "malformed", "pass_not_vip", "reply_forwarded", "no_gateway",
		"echo_answered", "icmp_forwarded", "icmp"} {
		if seen[reason] == 0 {
			t.Errorf("no packet was %s: %v", reason, seen)
		}
	}
}

// The names and the leg come out of a trace through the real program.
func TestTraceThroughTheProgram(t *testing.T) {
	state := inspecttest.NewState()
	plane, _ := program(t)
	r := replica(t, plane, state)
	d := trace(t, r, tcp(client, inspecttest.VIP4, 40000, 443), false)
	if d.Flow != "web" || d.From != 443 || d.To != 8443 || d.Target != "n1/a" || d.Interface != "leg-7" || len(d.Disagreements) > 0 {
		t.Errorf("%+v", d)
	}
	if out := inspect.Summarize(d.Rewritten); out.TTL != 63 || net.HardwareAddr(inspecttest.Target[:]).String() != out.DestinationMAC.String() {
		t.Errorf("rewritten %+v", out)
	}
	d = trace(t, r, tcp(netip.MustParseAddr("10.0.0.1"), inspecttest.VIP4, 40000, 22), false)
	if d.Reason.Name != "no_flow" || len(d.Mismatches) != 4 {
		t.Errorf("%+v", d)
	}
}

// Real packets are observed with their names, and counted.
func TestObserveTheProgram(t *testing.T) {
	plane, outside := program(t)
	r := replica(t, plane, inspecttest.NewState())
	link, err := testutil.Handle(t, outside).LinkByName("far")
	check(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	events := make(chan inspect.Event, 1)
	done := make(chan error, 1)
	reasons, err := inspect.ParseReasons([]string{inspect.DropReasons})
	check(t, err)
	go func() {
		done <- inspect.Observe(ctx, []inspect.Replica{r}, lb.Filter{Protocol: packet.SCTP, Reasons: reasons}, func(e inspect.Event) error {
			select {
			case events <- e:
			default: // one is enough
			}
			return nil
		})
	}()
	var e inspect.Event
	testutil.Eventually(t, 10*time.Second, "an event", func() bool {
		send(t, outside, link.Index)
		select {
		case e = <-events:
			return true
		default:
			return false
		}
	})
	if e.Reason != lb.DropNoTarget || e.Src.String() != "198.51.100.7" || e.Dst != inspecttest.VIP4 || e.DestinationPort != 5000 ||
		e.Flow != "sctp" || e.Stream != "voice" || e.Target != "" || e.Replica != "lb-1" {
		t.Errorf("event %+v", e)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
	s, err := r.Statistics()
	check(t, err)
	if i := slices.IndexFunc(s.Reasons, func(c inspect.ReasonCount) bool { return c.Reason == "no_target" }); i < 0 || s.Reasons[i].Packets == 0 {
		t.Errorf("statistics %+v", s)
	}
}

// send puts a packet without a target on the wire.
func send(t *testing.T, ns string, ifindex int) {
	t.Helper()
	ip := packet.IP{Src: client, Dst: inspecttest.VIP4}
	check(t, netns.Do(ns, func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		frame := ip.Packet(toUs, packet.SCTP, ip.SCTP(4000, 5000, []byte("hello")))
		return errors.Join(unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: ifindex}), unix.Close(fd))
	}))
}
