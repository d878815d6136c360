// SPDX-License-Identifier: Apache-2.0

package test

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/weft-project/weft/internal/cluster"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/packet"
	agentv1 "github.com/weft-project/weft/pkg/api/agent/v1"
	balancerv1 "github.com/weft-project/weft/pkg/api/balancer/v1"
	nodev1 "github.com/weft-project/weft/pkg/api/node/v1"
)

const (
	checkTime     = 10 * time.Second // of one call
	tracesPerPort = 160              // of each address family; a call takes 1,000 frames
)

// nodeView is what a node's administrator sees.
type nodeView struct {
	*cluster.Node
	agent agentv1.AgentClient
	check nodev1.NodeClient
}

// replicaView is what a load balancer tells of itself.
type replicaView struct {
	*cluster.Replica
	client balancerv1.BalancerClient
}

func (s *soak) connect() {
	s.t.Helper()
	dial := func(socket string) *grpc.ClientConn {
		conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
		must(s.t, err)
		s.t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	for _, n := range s.Nodes {
		conn := dial(n.Socket("admin"))
		s.nodes = append(s.nodes, &nodeView{n, agentv1.NewAgentClient(conn), nodev1.NewNodeClient(conn)})
	}
	for _, r := range s.replicas {
		s.traces = append(s.traces, &replicaView{r, balancerv1.NewBalancerClient(dial(r.Node.Socket(r.Name + "-admin")))})
	}
}

// servers are the workloads that stream web is balanced over.
func (s *soak) servers() (names []string) {
	for _, w := range s.workloads {
		if n := w.wanted[nic]; n != nil && !n.drain && slices.Contains(n.streams, "web") {
			names = append(names, w.Name)
		}
	}
	return names
}

// problems lists how the present state violates the invariants. What is cheap to
// find comes first, and the rest is only looked for when that holds.
func (s *soak) problems() []string {
	for _, look := range []func() []string{s.decide, s.attachments, s.interfaces, s.checks, s.tables, s.answers} {
		if found := look(); len(found) > 0 {
			return found
		}
	}
	return nil
}

// attachments says which are not as wanted, and which should not be.
func (s *soak) attachments() (found []string) {
	ctx, cancel := context.WithTimeout(s.ctx, checkTime)
	defer cancel()
	for _, n := range s.nodes {
		response, err := n.agent.List(ctx, &agentv1.ListRequest{})
		if err != nil {
			return append(found, fmt.Sprintf("%s: %v", n.Name, err))
		}
		there := map[string]*agentv1.Attachment{}
		for _, a := range response.GetAttachments() {
			there[a.GetSpec().GetName()] = a
		}
		for _, w := range s.workloads {
			for iface, wanted := range w.wanted {
				if w.Node != n.Node {
					continue
				}
				name := w.Attachment(iface)
				if why := s.differs(there[name], wanted); why != "" {
					found = append(found, fmt.Sprintf("%s: %s", name, why))
				}
				delete(there, name)
			}
		}
		for name := range there {
			found = append(found, fmt.Sprintf("%s: nobody wants it", name))
		}
	}
	return found
}

func (s *soak) differs(a *agentv1.Attachment, wanted *wantedNIC) string {
	if a == nil {
		return "is not there"
	}
	want, got := slices.Sorted(slices.Values(wanted.streams)), slices.Sorted(slices.Values(a.GetSpec().GetStreams()))
	switch {
	case !slices.Equal(want, got):
		return fmt.Sprintf("streams %v, want %v", got, want)
	case (a.GetSpec().GetLabels()["drain"] == "true") != wanted.drain:
		return fmt.Sprintf("labels %v, want drain %t", a.GetSpec().GetLabels(), wanted.drain)
	case !cluster.AllLegs(len(s.replicas))(a):
		return fmt.Sprintf("legs %v", a.GetStatus().GetLegs())
	}
	for _, c := range a.GetStatus().GetConditions() {
		if c.GetStatus() != agentv1.Condition_TRUE {
			return fmt.Sprintf("condition %v", c)
		}
	}
	for _, stream := range a.GetStatus().GetStreams() {
		if stream.GetState() != agentv1.StreamStatus_JOINED {
			return fmt.Sprintf("stream %v", stream)
		}
	}
	return ""
}

// interfaces says where there is another number of interfaces than one for each
// connection, and which addresses the two sides do not agree on.
func (s *soak) interfaces() (found []string) {
	add := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	held := map[netip.Addr]string{}
	perNode, all := map[*cluster.Node]int{}, 0
	for _, w := range s.workloads {
		perNode[w.Node] += len(w.wanted)
		all += len(w.wanted)
		want := slices.Sorted(slices.Values(append(slices.Collect(maps.Keys(w.wanted)), w.own...)))
		if got := slices.Sorted(slices.Values(linksOf(s.t, w.NetNS))); !slices.Equal(want, got) {
			add("%s has interfaces %v, want %v", w.Name, got, want)
		}
		for addr, iface := range legAddresses(w) {
			held[addr] = w.Attachment(iface.name)
		}
	}
	for _, n := range s.Nodes {
		replicas := 0
		for _, r := range s.replicas {
			if r.Node == n {
				replicas++
			}
		}
		add("%s", s.aliases(n.Name, n.NetNS, "weft:client:", perNode[n]))
		add("%s", s.aliases(n.Name, n.NetNS, "weft:endpoint:", replicas*all))
	}
	for _, r := range s.replicas {
		add("%s", s.aliases(r.Name, r.NetNS, "weft:endpoint:", all))
		for _, problem := range s.routes(r, held) {
			add("%s", problem)
		}
	}
	return slices.DeleteFunc(found, func(problem string) bool { return problem == "" })
}

// aliases says how a namespace's interfaces with an alias are not so many, or
// not of different connections.
func (s *soak) aliases(name, path, prefix string, want int) string {
	got := map[string]int{}
	n := 0
	withHandle(s.t, path, func(h *nl.Handle) {
		links, err := h.Links()
		must(s.t, err)
		for _, l := range links {
			if strings.HasPrefix(l.Alias, prefix) {
				got[l.Alias]++
				n++
			}
		}
	})
	maps.DeleteFunc(got, func(_ string, n int) bool { return n == 1 })
	if n == want && len(got) == 0 {
		return ""
	}
	return fmt.Sprintf("%s has %d interfaces %s, want %d; of one connection: %v", name, n, prefix, want, got)
}

// routes compares the addresses that a replica has given away with those that
// interfaces have.
func (s *soak) routes(r *cluster.Replica, held map[netip.Addr]string) (problems []string) {
	withHandle(s.t, r.NetNS, func(h *nl.Handle) {
		given, err := h.HostRoutes(0)
		must(s.t, err)
		own, err := h.AddressOwners()
		must(s.t, err)
		for _, prefix := range s.site.LegPrefixes(r.Number) {
			for addr, who := range held {
				if _, ok := given[addr]; prefix.Contains(addr) && !ok {
					problems = append(problems, fmt.Sprintf("%s of %s has no route in %s: it was freed while held", addr, who, r.Name))
				}
			}
			for addr := range given {
				if prefix.Contains(addr) && held[addr] == "" && own[addr] == nil {
					problems = append(problems, fmt.Sprintf("%s has a route to %s, which no interface has", r.Name, addr))
				}
			}
		}
	})
	return problems
}

// checks are the differences that weft check finds on the nodes.
func (s *soak) checks() (found []string) {
	ctx, cancel := context.WithTimeout(s.ctx, checkTime)
	defer cancel()
	for _, n := range s.nodes {
		response, err := n.check.Check(ctx, &nodev1.CheckRequest{})
		if err != nil {
			found = append(found, fmt.Sprintf("check %s: %v", n.Name, err))
		}
		for _, f := range response.GetFindings() {
			if f.GetSeverity() != nodev1.Finding_NOTE {
				found = append(found, fmt.Sprintf("check %s: %v", n.Name, f))
			}
		}
	}
	return found
}

// tables asks every load balancer where it would send the same packets.
func (s *soak) tables() (found []string) {
	ctx, cancel := context.WithTimeout(s.ctx, checkTime)
	defer cancel()
	var first []string
	for i, r := range s.traces {
		frames, err := s.frames(r)
		must(s.t, err)
		response, err := r.client.Trace(ctx, &balancerv1.TraceRequest{Replica: r.Name, Frames: frames})
		if err != nil {
			return append(found, fmt.Sprintf("trace of %s: %v", r.Name, err))
		}
		var sent []string
		for k, d := range response.GetDecisions() {
			sent = append(sent, d.GetStream()+" "+d.GetTarget().GetName())
			for _, disagreement := range d.GetDisagreements() {
				found = append(found, fmt.Sprintf("%s: %s", r.Name, disagreement))
			}
			if want := s.extra; k >= 4*tracesPerPort && d.GetStream() != want {
				found = append(found, fmt.Sprintf("%s takes port %d for stream %q, want %q", r.Name, extraPort, d.GetStream(), want))
				break
			}
		}
		if i == 0 {
			first = sent
			continue
		}
		for k := range sent {
			if sent[k] != first[k] {
				found = append(found, fmt.Sprintf("%s sends packet %d to %q, %s to %q", r.Name, k, sent[k], s.traces[0].Name, first[k]))
				break
			}
		}
	}
	return found
}

// frames are packets to every port, IPv4 and IPv6, of many sources.
func (s *soak) frames(r *replicaView) (frames [][]byte, err error) {
	eth := packet.Ethernet{Src: packet.MAC{2, 0, 0, 0, 0, 1}}
	err = nl.Do(r.NetNS, func(h *nl.Handle) error {
		link, err := h.LinkByName(cluster.External)
		copy(eth.Dst[:], link.MAC)
		return err
	})
	for _, port := range []uint16{webPort, apiPort, extraPort} {
		for _, vip := range vips {
			src := netip.MustParseAddr("198.51.100.7")
			if vip.Is6() {
				src = netip.MustParseAddr("2001:db8:7::7")
			}
			for n := range tracesPerPort {
				frames = append(frames, probeFrame(eth, packet.IP{Src: src, Dst: vip}, uint16(20000+17*n), port))
			}
		}
	}
	return frames, err
}

func probeFrame(eth packet.Ethernet, ip packet.IP, sport, dport uint16) []byte {
	return ip.Packet(eth, packet.UDP, ip.UDP(sport, dport, []byte("ask")))
}

// answers says what goes wrong with questions to the workloads.
func (s *soak) answers() []string {
	servers := s.servers()
	if len(servers) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(s.ctx, time.Second)
	defer cancel()
	if err := s.site.Await(ctx, destinations(webPort), servers...); err != nil {
		return []string{err.Error()}
	}
	return nil
}

var dropReasons = regexp.MustCompile(`^weft_forwarder_packets_total\{reason="(no_port|no_leg|unknown_mac|too_short|stale|rewrite|no_tunnel|encap|bad_control|control_full)"\}$`)

// drops counts what the cross-connects have dropped.
func (s *soak) drops() map[string]float64 {
	s.t.Helper()
	found := map[string]float64{}
	for _, n := range s.Nodes {
		metrics, err := n.Processes[cluster.Forwarder].Metrics(s.ctx)
		if err != nil {
			s.t.Error(err)
		}
		for name, value := range metrics {
			if dropReasons.MatchString(name) {
				found[n.Name+" "+name] = value
			}
		}
	}
	return found
}

// place is an interface that has an address.
type place struct {
	name  string
	index int
}

// legAddresses are those of a workload's attached interfaces that it alone may
// have: neither VIPs nor link-local ones. A workload that is gone has none.
func legAddresses(w *soakWorkload) map[netip.Addr]place {
	found := map[netip.Addr]place{}
	_ = nl.Do(w.NetNS, func(h *nl.Handle) error {
		links, err := h.Links()
		if err != nil {
			return err
		}
		for _, l := range links {
			addresses, err := h.Addresses(l.Index)
			if err != nil {
				continue // gone meanwhile
			}
			for _, p := range addresses {
				if slices.Contains(w.own, l.Name) || p.Addr().IsLinkLocalUnicast() || slices.Contains(vips, p.Addr()) {
					continue
				}
				found[p.Addr()] = place{l.Name, l.Index}
			}
		}
		return nil
	})
	return found
}

// watch looks all the time whether an address is on two interfaces.
func (s *soak) watch() (stop func()) {
	ctx, cancel := context.WithCancel(s.ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		for ctx.Err() == nil {
			s.mu.Lock()
			workloads := slices.Clone(s.workloads)
			s.mu.Unlock()
			holders := map[netip.Addr]*soakWorkload{}
			places := map[netip.Addr]place{}
			for _, w := range workloads {
				for addr, at := range legAddresses(w) {
					// Had the other one lost it before this one got it?
					if other := holders[addr]; other != nil && legAddresses(other)[addr] == places[addr] {
						s.t.Errorf("WEFT_TEST_SEED=%d: %s is on %s of %s and on %s of %s", s.seed, addr,
							places[addr].name, other.Name, at.name, w.Name)
					}
					holders[addr], places[addr] = w, at
				}
			}
			pause(50 * time.Millisecond)
		}
	})
	return func() {
		cancel()
		watching.Wait()
	}
}
