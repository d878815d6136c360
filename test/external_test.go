// SPDX-License-Identifier: Apache-2.0

package test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/app/up"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/resource"
	"github.com/weft-project/weft/internal/resource/compile"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/testutil/router"
	"github.com/weft-project/weft/internal/trunk"
	"github.com/weft-project/weft/pkg/apis/v1alpha1"
)

const base = "eth0" // of the node

// example is a file of the example with a VLAN.
func example(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "deployments", "examples", "frontend", name))
	must(t, err)
	return string(text)
}

// uplink gives the node its base interface, with the other end, of the same name, in
// a namespace.
func (s *stack) uplink(far string) (unplug func()) {
	s.t.Helper()
	withHandle(s.t, s.host, func(h *nl.Handle) {
		link, _, err := h.AddVeth(nl.Veth{Name: base, PeerName: base, PeerNetNS: far, PeerUp: true})
		must(s.t, err)
		must(s.t, h.SetUp(link.Index))
	})
	unplug = func() {
		withHandle(s.t, s.host, func(h *nl.Handle) {
			if link, err := h.LinkByName(base); err == nil {
				check(s.t, h.DeleteLink(link.Index))
			}
		})
	}
	s.t.Cleanup(unplug)
	return unplug
}

// gatewayIn puts the site's router into a VLAN of the far end.
func (o *site) gatewayIn(far string, vlan int) {
	o.t.Helper()
	other, err := trunk.New(trunk.Options{NetNS: far})
	must(o.t, err)
	o.t.Cleanup(func() { check(o.t, other.Close(false)) })
	must(o.t, other.Connect(context.Background(), trunk.Port{
		ID: "gateway", NetNS: o.router, Interface: "vlan", Base: base, VLAN: vlan,
		Addresses: []netip.Prefix{netip.PrefixFrom(o.gateway(o.net4), 24), netip.PrefixFrom(o.gateway(o.net6), 64)},
	}))
}

// addOutside starts a replica that has the interface of its attractor.
func (s *stack) addOutside(o *site, number byte) *replica {
	s.t.Helper()
	r := &replica{name: fmt.Sprintf("lb-%d-%d", o.number, number), netns: testutil.NetNS(s.t), number: number}
	var err error
	r.Endpoint, err = s.StartReplica(context.Background(), up.Replica{
		Name: r.name, Trench: "trench-a", Conduit: "lb", NetNS: r.netns,
		Prefixes: o.legPrefixes(number), TableSize: tableSize,
	})
	must(s.t, err)
	s.t.Cleanup(func() { check(s.t, r.Stop()) })
	s.replicas = append(s.replicas, r)
	return r
}

// started waits for replicas that wait for their interfaces.
func (s *stack) started(replicas ...*replica) {
	s.t.Helper()
	for _, r := range replicas {
		testutil.Eventually(s.t, 30*time.Second, r.name+" to run", func() bool { return r.Component() != nil })
	}
}

// outer is the address of a replica on its external interface, zero while it has none.
func (r *replica) outer(t testing.TB, net netip.Prefix) (found netip.Addr) {
	t.Helper()
	withHandle(t, r.netns, func(h *nl.Handle) {
		link, err := h.LinkByName(external)
		if err != nil {
			return
		}
		all, err := h.Addresses(link.Index)
		must(t, err)
		for _, a := range all {
			if net.Contains(a.Addr()) {
				found = a.Addr()
			}
		}
	})
	return found
}

// announcedBy waits until the router has exactly these replicas for both VIPs.
func (o *site) announcedBy(b *router.BIRD, what string, replicas ...*replica) {
	o.t.Helper()
	testutil.Eventually(o.t, 30*time.Second, what, func() bool {
		for _, vip := range vips {
			net := o.net4
			if vip.Is6() {
				net = o.net6
			}
			var want []string
			for _, r := range replicas {
				want = append(want, r.outer(o.t, net).String())
			}
			slices.Sort(want)
			if !slices.Equal(hops(b, vip), want) {
				return false
			}
		}
		return true
	})
}

// TestExampleVLAN: the example's frontends are in a VLAN of the node's interface, by
// the mesh, and a BIRD with the example's configuration sends them traffic.
func TestExampleVLAN(t *testing.T) {
	testutil.Require(t, "bird")
	s := newStack(t)
	o := newSite(t, 1)
	s.apply(example(t, "vlan.yaml"))
	first := s.addOutside(o, 1)
	s.says("external interface ext0 of attractor attractor: ", "get", "attractors", "-o", "json") // the base interface is missing
	far := testutil.NetNS(t)
	s.uplink(far)
	o.gatewayIn(far, 100)
	bird := router.StartBIRD(t, o.router, example(t, "bird.conf"))
	s.started(first)
	web := s.addWorkload("w1")
	web.attach("trench-a", "web")
	o.announcedBy(bird, "the VIPs by a frontend in the VLAN", first)
	o.reach(webPort, web)

	second := s.addOutside(o, 2)
	s.started(second)
	s.awaitTargets("trench-a", "web", web)
	o.announcedBy(bird, "the VIPs by two frontends in the VLAN", first, second)
	o.reach(webPort, web)
	s.stopReplica(second)
	o.announcedBy(bird, "the VIPs by the one that is left", first)
	if names := linksOf(t, second.netns); len(names) != 1 {
		t.Errorf("the frontend that has ended leaves %v", names)
	}
	s.stopReplica(first)
}

// TestExternalMacvlan: a base interface that is missing is awaited, and traffic flows
// again over one that is made again.
func TestExternalMacvlan(t *testing.T) {
	s := newStack(t)
	o := newSite(t, 1)
	s.apply(strings.NewReplacer(
		"type: nsm-vlan", "type: macvlan", "nsm-vlan:", "macvlan:", "      vlan-id: 100\n", "",
	).Replace(example(t, "vlan.yaml")))
	s.apply(staticGateways)
	r := s.addOutside(o, 1)
	web := s.addWorkload("w1")
	s.says("base interface eth0 is not there", "get", "attractors", "-o", "json")
	for i := range 2 {
		unplug := s.uplink(o.router)
		withHandle(t, o.router, func(h *nl.Handle) {
			link, err := h.LinkByName(base)
			must(t, err)
			must(t, h.AddAddress(link.Index, netip.PrefixFrom(o.gateway(o.net4), o.net4.Bits())))
			must(t, h.AddAddress(link.Index, netip.PrefixFrom(o.gateway(o.net6), o.net6.Bits())))
		})
		testutil.Eventually(t, 30*time.Second, "the interface", func() bool { return r.Component() != nil && slices.Contains(linksOf(t, r.netns), external) })
		o.via(base, r)
		if i == 0 {
			web.attach("trench-a", "web")
		}
		testutil.Eventually(t, 30*time.Second, "a target", func() bool { return r.Serving("web") == 1 })
		o.reach(webPort, web)
		unplug()
		s.says("base interface eth0 is not there", "get", "attractors", "-o", "json")
	}
	s.stopReplica(r)
}

const staticGateways = `
apiVersion: weft.dev/v1alpha1
kind: Gateway
metadata: {name: gateway-v4, namespace: trench-a, labels: {trench: trench-a}}
spec: {address: 10.1.0.254, protocol: static, static: {bfd: {switch: false}}}
---
apiVersion: weft.dev/v1alpha1
kind: Gateway
metadata: {name: gateway-v6, namespace: trench-a, labels: {trench: trench-a}}
spec: {address: "fd01::fe", protocol: static, static: {bfd: {switch: false}}}
`

// via routes the VIPs to a replica on an interface of the router.
func (o *site) via(name string, r *replica) {
	o.t.Helper()
	withHandle(o.t, o.router, func(h *nl.Handle) {
		link, err := h.LinkByName(name)
		must(o.t, err)
		for _, vip := range vips {
			net := o.net4
			if vip.Is6() {
				net = o.net6
			}
			must(o.t, h.ReplaceRoute(nl.Route{
				Index: link.Index, Prefix: netip.PrefixFrom(vip, vip.BitLen()), Gateway: r.outer(o.t, net),
			}))
		}
	})
}

// The example is good without a machine, too.
func TestExampleVLANCompiles(t *testing.T) {
	store, err := resource.Open("")
	must(t, err)
	demo, err := os.ReadFile(filepath.Join("..", "deployments", "examples", "demo.yaml"))
	must(t, err)
	for _, text := range []string{string(demo), example(t, "vlan.yaml")} {
		_, err = store.Apply([]resource.File{{Name: "example", Data: []byte(text)}}, resource.ApplyOptions{})
		must(t, err)
	}
	f, err := compile.FrontendOf(store.Snapshot(), "trench-a", "lb", "lb-1", nil)
	must(t, err)
	must(t, f.Config.Validate())
	if f.Interface.Type != v1alpha1.InterfaceNSMVlan || len(f.Config.Gateways) != 2 || len(f.Withheld) != 0 {
		t.Errorf("%+v", f)
	}
	for _, g := range f.Config.Gateways {
		if g.BGP == nil || g.BFD == nil {
			t.Errorf("gateway %s: %+v", g.Name, g)
		}
	}
}
