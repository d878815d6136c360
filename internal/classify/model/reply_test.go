// SPDX-License-Identifier: Apache-2.0

package model

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/weft-project/weft/internal/packet"
)

// aged is the packet one hop later.
func aged(ip packet.IP) packet.IP {
	ip.TTL--
	return ip
}

// TestReply is the way back: steps 1, 2, 5 and 7.
func TestReply(t *testing.T) {
	for name, f := range families {
		w := world()
		gateway := from(f.in).Src
		whole := frame(toUs, f.reply, packet.TCP, 80, 4000)
		sent := func(frame []byte) Decision {
			return Decision{Verdict: ReplyForwarded, Gateway: gateway, Frame: frame}
		}
		stranger, expiring, left := f.reply, f.reply, f.reply
		stranger.Src, expiring.TTL = f.in.Src, 1
		left.Extensions = slices.Repeat([]packet.Extension{packet.AuthHeader(4)}, 9)
		if name == "IPv6" {
			left.Extensions = []packet.Extension{packet.RoutingHeader(1)}
		}
		tagged := toUs
		tagged.Tags = []packet.Tag{{TCI: 7}}
		priority := toUs
		priority.Tags = []packet.Tag{{TCI: 1 << 13}}
		foreign := frame(toUs, stranger, packet.TCP, 80, 4000)
		arp := packet.ARP{Op: packet.ARPRequest, SenderIP: vip4, TargetIP: client4}.Frame(toUs)
		answer := packet.ARP{Op: packet.ARPReply, SenderIP: vip4, TargetIP: client4}.Frame(toUs)
		t.Run(name, func(t *testing.T) {
			run(t, w.Reply,
				step{"reply", whole, sent(frame(toUs, aged(f.reply), packet.TCP, 80, 4000))},
				step{"priority tag", frame(priority, f.reply, packet.TCP, 80, 4000), sent(frame(toUs, aged(f.reply), packet.TCP, 80, 4000))},
				step{"VLAN", frame(tagged, f.reply, packet.TCP, 80, 4000), Decision{Verdict: PassVLAN, Frame: frame(tagged, f.reply, packet.TCP, 80, 4000)}},
				step{"not IP", toUs.Frame(0x88cc, nil), Decision{Verdict: PassNotIP, Frame: toUs.Frame(0x88cc, nil)}},
				step{"ARP request", arp, Decision{Verdict: PassReply, Frame: arp}},
				step{"ARP reply", answer, Decision{Verdict: PassARP, Frame: answer}},
				step{"no VIP", foreign, Decision{Verdict: PassReply, Frame: foreign}},
				step{"malformed", whole[:len(whole)-1], Decision{Verdict: Malformed}},
				step{"short TCP", f.reply.Packet(toUs, packet.TCP, make([]byte, 19)), Decision{Verdict: Malformed}},
				step{"GRE", frame(toUs, f.reply, 47, 0, 0), sent(frame(toUs, aged(f.reply), 47, 0, 0))},
				step{"extension headers", frame(toUs, left, packet.TCP, 8443, 4000), sent(frame(toUs, aged(left), packet.TCP, 8443, 4000))},
				step{"TTL", frame(toUs, expiring, packet.TCP, 80, 4000), Decision{Verdict: TTLExpired}},
				step{"echo", icmp(toUs, f.reply, kinds[name].request, 0, make([]byte, 9)), sent(icmp(toUs, aged(f.reply), kinds[name].request, 0, make([]byte, 9)))},
			)
			for _, proto := range protocols {
				run(t, w.Reply,
					step{"rule", frame(toUs, f.reply, proto, 8443, 4000), sent(frame(toUs, aged(f.reply), proto, 443, 4000))},
					step{"NAT", frame(toUs, f.reply, proto, 9090, 4000), sent(frame(toUs, aged(f.reply), proto, 90, 4000))},
					step{"other port", frame(toUs, f.reply, proto, 90, 9090), sent(frame(toUs, aged(f.reply), proto, 90, 9090))},
				)
			}
		})
	}
}

// TestReplyLimits is steps 3 and 4 of the way back.
func TestReplyLimits(t *testing.T) {
	for name, f := range families {
		w := world()
		whole := frame(toUs, f.reply, packet.TCP, 80, 4000)
		expiring, df := f.reply, f.reply
		expiring.TTL, df.Fragment = 1, packet.FragmentDF
		w.Set.MTU = uint16(len(whole) - 14)
		run(t, w.Reply, step{name + " fits", whole, Decision{
			Verdict: ReplyForwarded, Gateway: from(f.in).Src, Frame: frame(toUs, aged(f.reply), packet.TCP, 80, 4000),
		}})
		w.Set.MTU--
		want := map[string]string{"IPv4": Fragmented, "IPv6": TooBig}[name]
		run(t, w.Reply,
			step{name + " does not fit", whole, Decision{Verdict: want}},
			step{name + " DF", frame(toUs, df, packet.TCP, 80, 4000), Decision{Verdict: TooBig}},
			step{name + " TTL goes first", frame(toUs, expiring, packet.TCP, 80, 4000), Decision{Verdict: TTLExpired}},
		)
		if name == "IPv4" {
			w.Gateways4 = nil
		} else {
			w.Gateways6 = nil
		}
		run(t, w.Reply,
			step{name + " no gateway", whole, Decision{Verdict: NoGateway}},
			step{name + " no gateway goes before TTL", frame(toUs, expiring, packet.TCP, 80, 4000), Decision{Verdict: NoGateway}},
			step{name + " malformed goes first", whole[:len(whole)-1], Decision{Verdict: Malformed}},
		)
	}
}

// TestReplyErrors is the second part of step 5 of the way back: the workload
// complains about packets that the client sent.
func TestReplyErrors(t *testing.T) {
	for name, f := range families {
		w, kind := world(), kinds[name].unreachable
		seen, other := f.out, f.out
		other.Dst = f.out.Dst.Next() // with the same NATs
		for _, n := range w.Set.NATs {
			n.VIP = netip.PrefixFrom(other.Dst, other.Dst.BitLen())
			w.Set.NATs = append(w.Set.NATs, n)
		}
		for protoName, proto := range protocols {
			sizes := []int{8, 99}
			if proto == packet.SCTP {
				sizes = sizes[:1] // its quoted checksum stays
			}
			for _, size := range sizes {
				about := func(what string, quoted packet.IP, target, outside uint16) step {
					return step{
						name + " " + protoName + " " + what, quoting(toUs, f.reply, kind, quoted, proto, 4000, target, size),
						Decision{Verdict: ReplyForwarded, Gateway: from(f.in).Src, Frame: quoting(toUs, aged(f.reply), kind, quoted, proto, 4000, outside, size)},
					}
				}
				run(t, w.Reply,
					about("NAT", seen, 9090, 90), about("rule", seen, 8443, 443), about("no NAT", seen, 80, 80),
					about("not to this VIP", other, 9090, 9090),
				)
			}
		}
	}
}

// TestReplyFragments checks that first fragments are translated, and that all
// fragments take the same way.
func TestReplyFragments(t *testing.T) {
	for name, f := range families {
		w := world()
		f.reply.ID = 77
		in, out := fragments(frame(toUs, f.reply, packet.UDP, 9090, 4000)), fragments(frame(toUs, aged(f.reply), packet.UDP, 90, 4000))
		for i := range in {
			run(t, w.Reply, step{name, in[i], Decision{Verdict: ReplyForwarded, Gateway: from(f.in).Src, Frame: out[i]}})
		}
		if len(w.Fragments) != 0 {
			t.Errorf("%s: replies are remembered: %v", name, w.Fragments)
		}
		for i := range byte(9) {
			more := router4.As4()
			more[3] = i
			w.Gateways4 = append(w.Gateways4, netip.AddrFrom4(more))
			w.Gateways6 = append(w.Gateways6, netip.AddrFrom16([16]byte{0x20, 1, 15: i}))
		}
		list := w.Gateways6
		if f.reply.Src.Is4() {
			list = w.Gateways4
		}
		pick := func(proto uint8, sport, dport uint16) netip.Addr {
			hash := packet.FlowHash(f.reply.Src, f.reply.Dst, proto, sport, dport)
			return highest(list, uint64(hash>>20))
		}
		plain := pick(packet.TCP, 0, 0)
		for _, b := range append(in, frame(toUs, f.reply, 47, 0, 0), icmp(toUs, f.reply, 13, 0, make([]byte, 9))) {
			if got := w.Reply(b); got.Gateway != plain {
				t.Errorf("%s: got %s, want %s", name, got.Gateway, plain)
			}
		}
		for port := range uint16(50) { // by the ports that the target has
			want := pick(packet.UDP, 9090, port)
			if got := w.Reply(frame(toUs, f.reply, packet.UDP, 9090, port)); got.Gateway != want {
				t.Errorf("%s: port %d: got %s, want %s", name, port, got.Gateway, want)
			}
		}
	}
}

// TestReplyClamp is step 6 of the way back.
func TestReplyClamp(t *testing.T) {
	for name, f := range families {
		w := world()
		w.Set.MSSClamp = true
		headers := map[string]uint16{"IPv4": 40, "IPv6": 60}[name]
		syn := func(ip packet.IP, port, mss uint16) []byte {
			return ip.Packet(toUs, packet.TCP, ip.TCPOptions(port, 4000, packet.SYN|packet.ACK, packet.MSS(mss), nil))
		}
		for _, c := range []struct{ ext, leg, want uint16 }{{1300, 0, 1300}, {1300, 1400, 1300}, {1400, 1300, 1300}, {0, 1300, 1300}, {0, 0, 1460 + headers}} {
			w.Set.MTU, w.LegMTU = c.ext, c.leg
			run(t, w.Reply, step{name, syn(f.reply, 8443, 1460), Decision{
				Verdict: ReplyForwarded, Gateway: from(f.in).Src, Frame: syn(aged(f.reply), 443, c.want-headers),
			}})
		}
	}
}
