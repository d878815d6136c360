// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/packet"
	"github.com/weft-project/weft/internal/testutil"
)

// stackLimit bounds one exchange of the tests with real stacks.
const stackLimit = 10 * time.Second

// ipVersion is what a test needs to know of IPv4 or IPv6: addresses, the length
// of the header and the numbers of socket options.
type ipVersion struct {
	name                                string
	vip, client, gate                   netip.Addr // gate: of the workloads
	header, leastMTU                    int
	level, discover, mtu, recvErr, hops int
}

var ipVersions = []ipVersion{
	{
		"IPv4", routed4, client4, gate4, 20, 576,
		unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_MTU, unix.IP_RECVERR, unix.IP_TTL,
	},
	{
		"IPv6", routed6, client6, gate6, 40, 1280,
		unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_MTU, unix.IPV6_RECVERR, unix.IPV6_UNICAST_HOPS,
	},
}

// eachVersion runs a test for both.
func eachVersion(t *testing.T, test func(t *testing.T, v ipVersion)) {
	for _, v := range ipVersions {
		t.Run(v.name, func(t *testing.T) { test(t, v) })
	}
}

// stacks is a topology whose losses are known: whatever the program, an
// interface or a stack drops after its making.
type stacks struct {
	*topology
	losses map[string]uint64 // at the beginning
}

func newStacks(t *testing.T, targets int) *stacks {
	s := &stacks{topology: newTopology(t, targets, 0)}
	s.balance(t)
	for _, ns := range append([]string{s.client, s.ns}, s.targets...) {
		testutil.Eventually(t, stackLimit, "queues of the interfaces", func() bool { return queuesReady(t, ns) })
	}
	s.losses = s.allLosses(t)
	return s
}

// queuesReady says that every veth of a namespace sends: after it has a carrier, it
// drops everything until the kernel's link watch has been there, which sets the
// operational state.
func queuesReady(t *testing.T, ns string) bool {
	t.Helper()
	var answer []byte
	check(t, netns.Do(ns, func() (err error) {
		answer, err = syscall.NetlinkRIB(unix.RTM_GETLINK, unix.AF_UNSPEC)
		return err
	}))
	messages, err := syscall.ParseNetlinkMessage(answer)
	check(t, err)
	for _, m := range messages {
		if m.Header.Type != unix.RTM_NEWLINK {
			continue
		}
		attrs, err := syscall.ParseNetlinkRouteAttr(&m)
		check(t, err)
		name, state := "", -1
		for _, a := range attrs {
			switch a.Attr.Type {
			case unix.IFLA_IFNAME:
				name = unix.ByteSliceToString(a.Value)
			case unix.IFLA_OPERSTATE:
				state = int(a.Value[0])
			}
		}
		if name != "lo" && state != operUp {
			return false
		}
	}
	return true
}

// operUp is IF_OPER_UP of linux/if.h.
const operUp = 6

// setRules sends everything to stream 0, as balance does, with changes.
func (s *stacks) setRules(t *testing.T, change func(*Rules)) {
	t.Helper()
	rules := Rules{}
	for _, a := range vips {
		rules.VIPs = append(rules.VIPs, netip.PrefixFrom(a, a.BitLen()))
	}
	rules.Flows = []classify.Rule{{Name: "all", VIPs: rules.VIPs}}
	change(&rules)
	check(t, s.lb.SetRules(rules))
}

// setLegMTU says what the legs take, which only the load balancer knows: it has
// to tell those who send more.
func (s *stacks) setLegMTU(t *testing.T, mtu int) {
	t.Helper()
	for i, leg := range s.legs {
		mac, legMAC := targetMAC(i), legMAC(i)
		check(t, s.lb.SetTarget(uint16(i+1), Target{IfIndex: leg.Index, MAC: mac[:], LegMAC: legMAC[:], MTU: mtu}))
	}
}

// setLegLinks makes the legs as small as they are said to be. Workloads are told
// nothing of that: their interfaces are as before.
func (s *stacks) setLegLinks(t *testing.T, mtu int) {
	t.Helper()
	s.setLegMTU(t, mtu)
	for _, leg := range s.legs {
		check(t, testutil.Handle(t, s.ns).SetMTU(leg.Index, mtu))
	}
}

// setExternalMTU makes the external link take less than the legs. The client tells
// the others of none of that, like one whose own link is larger.
func (s *stacks) setExternalMTU(t *testing.T, mtu int) {
	t.Helper()
	client := testutil.Link(t, s.client, "ext")
	check(t, testutil.Handle(t, s.client).SetMTU(client.Index, mtu))
	check(t, testutil.Handle(t, s.ns).SetMTU(s.lb.id.ifindex, mtu))
	sysctl(t, s.client, "ipv4/route/min_adv_mss", "1460")
	sysctl(t, s.client, "ipv6/route/min_adv_mss", "1440")
	s.setRules(t, func(*Rules) {})
}

// targetOf is the index of the target that a flow belongs to by the table of
// balance.
func (s *stacks) targetOf(src, dst netip.Addr, proto uint8, sport, dport uint16) int {
	table := s.table(0)
	return int(table[packet.HashPick(packet.FlowHash(src, dst, proto, sport, dport), uint32(len(table)))]) - 1
}

// lossless checks that nothing was lost since newStacks, apart from what the
// program dropped for the reasons given.
func (s *stacks) lossless(t *testing.T, allowed ...Reason) {
	t.Helper()
	expected := make(map[string]bool)
	for _, r := range allowed {
		expected["dropped: "+r.String()] = true
	}
	for what, n := range s.allLosses(t) {
		if more := n - s.losses[what]; more > 0 && !expected[what] {
			t.Errorf("%s: %d", what, more)
		}
	}
	s.conserved(t)
}

// conserved checks that the targets receive the frames that were sent to them, and
// no others. The stacks talk now and then, between two looks, too.
func (s *stacks) conserved(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(time.Second); ; {
		counts, err := s.lb.Counters()
		check(t, err)
		program := counts[Forwarded] + counts[FragmentForwarded] + counts[ICMPForwarded]
		legs := devices(t, s.ns)
		var got, slow uint64
		for i, ns := range s.targets {
			got += devices(t, ns)["nsm-1"].rxPackets
			slow += legs[s.legs[i].Name].txPackets // by the slow path and the stack
		}
		if got == program+slow {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("the targets received %d frames, of %d from the program and %d by the legs", got, program, slow)
			return
		}
	}
}

// allLosses counts everything that is lost, anywhere.
func (s *stacks) allLosses(t *testing.T) map[string]uint64 {
	t.Helper()
	all := make(map[string]uint64)
	counts, err := s.lb.Counters()
	check(t, err)
	for r, n := range counts {
		if r.Drop() {
			all["dropped: "+r.String()] = n
		}
	}
	slow := s.lb.SlowPath()
	for event, n := range slow.All {
		switch event {
		case "lost", "malformed", "icmp_not_allowed", "icmp_rate_limited", "cut_failed", "fragments_expired",
			"fragments_refused", "fragments_undeliverable", "send_errors":
			all["slow path: "+event] = n
		}
	}
	spaces := map[string]string{"client": s.client, "balancer": s.ns}
	for i, ns := range s.targets {
		spaces[fmt.Sprintf("target %d", i)] = ns
	}
	for name, ns := range spaces {
		for what, n := range stackLosses(t, ns) {
			all[name+": "+what] = n
		}
	}
	return all
}

// stackLosses returns what the interfaces and the stack of a namespace have lost.
func stackLosses(t *testing.T, ns string) map[string]uint64 {
	t.Helper()
	lost := make(map[string]uint64)
	for name, n := range stackCounters(t, ns) {
		switch name {
		case "Ip InHdrErrors", "Ip InDiscards", "Ip ReasmFails", "Icmp InCsumErrors",
			"Tcp InErrs", "Tcp InCsumErrors", "Udp InErrors", "Udp RcvbufErrors", "Udp InCsumErrors",
			"Ip6InHdrErrors", "Ip6InDiscards", "Ip6ReasmFails", "Icmp6InCsumErrors",
			"Udp6InErrors", "Udp6RcvbufErrors", "Udp6InCsumErrors":
			lost[name] = n
		}
	}
	for name, d := range devices(t, ns) {
		lost[name+" receive errors"], lost[name+" receive drops"] = d.rxErrors, d.rxDrops
		lost[name+" transmit errors"], lost[name+" transmit drops"] = d.txErrors, d.txDrops
	}
	return lost
}

// device is what an interface has counted.
type device struct{ rxPackets, rxErrors, rxDrops, txPackets, txErrors, txDrops uint64 }

func devices(t *testing.T, ns string) map[string]device {
	t.Helper()
	list := make(map[string]device)
	for _, line := range strings.Split(readIn(t, ns, "dev"), "\n") {
		name, rest, ok := strings.Cut(line, ":")
		f := strings.Fields(rest)
		if !ok || len(f) < 12 {
			continue
		}
		n := make([]uint64, len(f))
		for i := range f {
			n[i] = parseCount(t, f[i])
		}
		list[strings.TrimSpace(name)] = device{n[1], n[2], n[3], n[9], n[10], n[11]}
	}
	return list
}

// stackCounters returns the counters of a stack by the names of the kernel, those
// of IPv4 with their group before them.
func stackCounters(t *testing.T, ns string) map[string]uint64 {
	t.Helper()
	counters := make(map[string]uint64)
	lines := strings.Split(readIn(t, ns, "snmp"), "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		names, values := strings.Fields(lines[i]), strings.Fields(lines[i+1])
		for j := 1; j < min(len(names), len(values)); j++ {
			if !strings.HasPrefix(values[j], "-") { // Tcp MaxConn
				counters[strings.TrimSuffix(names[0], ":")+" "+names[j]] = parseCount(t, values[j])
			}
		}
	}
	for _, line := range strings.Split(readIn(t, ns, "snmp6"), "\n") {
		if f := strings.Fields(line); len(f) == 2 {
			counters[f[0]] = parseCount(t, f[1])
		}
	}
	return counters
}

func parseCount(t *testing.T, text string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(text, 10, 64)
	check(t, err)
	return n
}

// readIn reads a file of /proc/net as a namespace sees it.
func readIn(t *testing.T, ns, name string) (text string) {
	t.Helper()
	check(t, netns.Do(ns, func() error {
		b, err := os.ReadFile("/proc/thread-self/net/" + name)
		text = string(b)
		return err
	}))
	return text
}

// sysctl sets a variable of a namespace.
func sysctl(t *testing.T, ns, name, value string) {
	t.Helper()
	check(t, netns.Do(ns, func() error { return os.WriteFile("/proc/sys/net/"+name, []byte(value), 0) }))
}

// offloads are the features of an interface that leave work to it.
var offloads = []uint32{
	unix.ETHTOOL_SGRO, unix.ETHTOOL_STSO, unix.ETHTOOL_SGSO, unix.ETHTOOL_SSG, unix.ETHTOOL_STXCSUM, unix.ETHTOOL_SRXCSUM,
}

// turnOffloadsOff makes all interfaces pass nothing but what a wire would.
func (s *stacks) turnOffloadsOff(t *testing.T) {
	t.Helper()
	for _, ns := range append([]string{s.client, s.ns}, s.targets...) {
		links, err := testutil.Handle(t, ns).Links()
		check(t, err)
		for _, link := range links {
			if link.Kind == "veth" {
				check(t, netns.Do(ns, func() error { return noOffloads(link) }))
			}
		}
	}
}

func noOffloads(link nl.Link) (err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	for _, feature := range offloads {
		// What a kernel does not let one change is off, or cannot matter.
		if _, err := ethtoolValue(fd, link.Name, feature, 0); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
			return fmt.Errorf("ethtool command %#x of %s: %w", feature, link.Name, err)
		}
	}
	return nil
}
