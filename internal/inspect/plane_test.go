// SPDX-License-Identifier: Apache-2.0

package inspect_test

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/weft-project/weft/internal/balancer"
	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/internal/inspect"
	"github.com/weft-project/weft/internal/inspect/inspecttest"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/packet"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/pkg/dataplane/lb"
)

// byTestRun traces by LB.TestRun, which does not tell flow and slot: each stream
// of the test has the flow whose number is 10 more.
type byTestRun struct{ *lb.LB }

func (p byTestRun) Trace(frame []byte) (lb.Verdict, []byte, error) {
	v, out, err := p.TestRun(frame)
	v.Flow = v.Stream + 10
	if f, parseErr := packet.Parse(frame); parseErr == nil && f.Dst.IsValid() {
		v.Slot = packet.HashPick(packet.FlowHash(f.Src, f.Dst, f.Proto, f.SrcPort, f.DstPort), inspecttest.TableSize)
	}
	return v, out, err
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// program loads the program. Its targets are places that nothing is sent to.
func program(t *testing.T) *lb.LB {
	testutil.Require(t, "bpf", "netns")
	ns := testutil.NetNS(t)
	_, _, err := testutil.Handle(t, ns).AddVeth(nl.Veth{
		Name: "ext0", MAC: inspecttest.MAC[:], PeerName: "far", PeerNetNS: testutil.NetNS(t),
	})
	check(t, err)
	plane, err := lb.New(lb.Config{NetNS: ns, Interface: "ext0"})
	check(t, err)
	t.Cleanup(func() {
		if err := plane.Close(); err != nil {
			t.Error(err)
		}
	})
	check(t, plane.SetTarget(7, lb.Target{IfIndex: 1, MAC: inspecttest.Target[:], LegMAC: inspecttest.Leg[:]}))
	return plane
}

// replica has the plane do what a state says.
func replica(t *testing.T, plane *lb.LB, state *inspecttest.State) inspect.Replica {
	t.Helper()
	rules := lb.Rules{VIPs: state.Configuration.VIPs, Gateways: state.Configuration.Gateways}
	for _, f := range state.Configuration.Flows {
		rule := f.Rule
		rule.Stream = state.Now.Stream(f.Stream).ID
		rules.Flows = append(rules.Flows, rule)
	}
	check(t, plane.SetRules(rules))
	for _, s := range state.Now.Streams {
		if len(s.Targets) > 0 {
			check(t, plane.SetTable(s.ID, slices.Repeat([]uint16{7}, inspecttest.TableSize)))
		}
	}
	r := inspecttest.New("lb-1", byTestRun{plane})
	r.State = state
	return r
}

// generator makes random rules, and packets near them.
type generator struct{ *rand.Rand }

func (g generator) port() uint16 { return uint16(78 + g.IntN(5)) }

// state has one flow for each stream.
func (g generator) state() *inspecttest.State {
	state := inspecttest.NewState()
	c := &state.Configuration
	c.NATs, c.Flows, state.Now.Flows = nil, nil, nil
	for _, s := range state.Now.Streams {
		first := g.port()
		rule := classify.Rule{
			Name: s.Name, Priority: int32(g.IntN(3)), VIPs: c.VIPs[g.IntN(2):],
			DestinationPorts: []classify.PortRange{{First: first, Last: first + uint16(g.IntN(2))}, {First: 81, Last: 81}},
			Protocols:        [][]uint8{nil, {classify.TCP}, {classify.UDP, classify.SCTP}}[g.IntN(3)],
		}
		if g.IntN(2) == 0 {
			rule.Sources = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/25"), netip.MustParsePrefix("2001:db8::/64")}
		}
		if g.IntN(2) == 0 {
			rule.ByteMatches = []classify.ByteMatch{{Protocol: classify.TCP, Offset: 1, Width: 1, Mask: 3, Value: uint32(g.IntN(4))}}
		}
		state.Now.Flows = append(state.Now.Flows, balancer.FlowState{Name: s.Name, ID: s.ID + 10, Stream: s.Name})
		c.Flows = append(c.Flows, balancer.Flow{Stream: s.Name, Rule: rule})
	}
	return state
}

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
	if reply {
		ip.Src, ip.Dst = ip.Dst, ip.Src
	}
	var transport []byte
	proto := []uint8{packet.TCP, packet.UDP, packet.SCTP}[g.IntN(3)]
	switch sport, dport := uint16(1000+g.IntN(8)), g.port(); proto {
	case packet.TCP:
		transport = ip.TCP(sport, dport, packet.SYN, nil)
	case packet.UDP:
		transport = ip.UDP(sport, dport, nil)
	case packet.SCTP:
		transport = ip.SCTP(sport, dport, nil)
	}
	if g.IntN(20) == 0 {
		transport = transport[:7]
	}
	return ip.Packet(toUs, proto, transport)
}

// The explanation agrees with the real program on random packets near random
// rules.
func TestExplanationAgreesWithTheProgram(t *testing.T) {
	plane := program(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	g := generator{rand.New(rand.NewPCG(seed, 1))}
	seen := map[string]int{}
	for range 30 {
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
	for _, reason := range []string{"forwarded", "no_flow", "no_target", "ttl_expired", "malformed", "pass_not_vip", "reply_forwarded", "no_gateway"} {
		if seen[reason] == 0 {
			t.Errorf("no packet was %s: %v", reason, seen)
		}
	}
}

// The names and the leg come out of a trace through the real program.
func TestTraceThroughTheProgram(t *testing.T) {
	state := inspecttest.NewState()
	state.Configuration.NATs = nil
	for i := range state.Now.Flows {
		state.Now.Flows[i].ID = 10 + state.Now.Stream(state.Now.Flows[i].Stream).ID
	}
	state.Now.Flows[0].ID = 99 // of the two flows of stream web, the test's plane knows one
	r := replica(t, program(t), state)
	d := trace(t, r, tcp(client, inspecttest.VIP4, 40000, 80), false)
	if d.Flow != "web" || d.Target != "n1/a" || d.Interface != "leg-7" || len(d.Disagreements) > 0 {
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
