// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/weft-project/weft/internal/frontend"
	"github.com/weft-project/weft/internal/frontend/process"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/router"
)

// GatewayASN and ReplicaASN are the AS numbers of a routed site.
const (
	GatewayASN = 64512
	ReplicaASN = 64513
)

// Gateway is a router of a routed site.
type Gateway struct {
	Name  string
	NetNS string
	site  *Site
	last  byte // of its addresses
	o     GatewayOptions
	bird  *router.BIRD
	frr   *router.FRR
	own   *process.Process
}

// Kind says what a gateway runs.
type Kind string

// Kinds of gateways.
const (
	BIRD Kind = "BIRD"
	FRR  Kind = "FRR"
	Own  Kind = "weft" // internal/frontend the other way round: nothing but Go
)

// GatewayOptions say how it speaks.
type GatewayOptions struct {
	Kind       Kind
	Replicas   byte          // it speaks to those with numbers from 1 to this
	Interval   time.Duration // of BFD; 50ms when 0
	Multiplier uint8         // of BFD; 3 when 0
	Dir        string        // of the control socket of Own
}

// Start starts the router, again after Kill.
func (g *Gateway) Start(ctx context.Context, o GatewayOptions) (err error) {
	if o.Interval == 0 {
		o.Interval = 50 * time.Millisecond
	}
	if o.Multiplier == 0 {
		o.Multiplier = 3
	}
	again := g.o.Kind != ""
	g.o = o
	switch {
	case o.Kind == FRR && again:
		return g.frr.Start(ctx)
	case o.Kind == FRR:
		g.frr, err = router.StartFRR(ctx, g.NetNS, g.frrConfig())
		return err
	case o.Kind == BIRD && again:
		if err = g.bird.Start(ctx); err == nil {
			g.bird.Prefer()
		}
		return err
	case o.Kind == BIRD:
		if err := g.addRules(); err != nil {
			return err
		}
		if g.bird, err = router.StartBIRD(ctx, g.NetNS, g.birdConfig()); err == nil {
			g.bird.Prefer()
		}
		return err
	default:
		if g.own, err = process.Start(ctx, process.Options{NetNS: g.NetNS, Socket: filepath.Join(o.Dir, g.Name+".sock")}); err != nil {
			return err
		}
		return g.own.Set(ctx, g.ownConfig())
	}
}

// Kill ends BIRD or FRR without a word.
func (g *Gateway) Kill() {
	switch {
	case g.bird != nil:
		g.bird.Kill()
	case g.frr != nil:
		g.frr.Kill()
	}
}

// Close ends the router.
func (g *Gateway) Close() error {
	var errs []error
	if g.bird != nil {
		errs = append(errs, g.bird.Close())
	}
	if g.frr != nil {
		errs = append(errs, g.frr.Close())
	}
	if g.own != nil {
		errs = append(errs, g.own.Close(context.Background()))
	}
	g.bird, g.frr, g.own, g.o = nil, nil, nil, GatewayOptions{}
	return errors.Join(errs...)
}

// Addresses are those at the network of the replicas.
func (g *Gateway) Addresses() (v4, v6 netip.Addr) {
	return host(g.site.net4, g.last), host(g.site.net6, g.last)
}

// tables are where the router puts VIPs.
func (g *Gateway) tables() []int {
	switch g.o.Kind {
	case BIRD:
		return []int{tableOne, tableOne + 1}
	case FRR:
		return []int{0}
	}
	return []int{tableOne}
}

// Replicas returns the numbers of those that lead to an address, sorted.
func (g *Gateway) Replicas(address netip.Addr) (numbers []byte, err error) {
	err = nl.Do(g.NetNS, func(h *nl.Handle) error {
		numbers, err = g.replicas(h, address)
		return err
	})
	return numbers, err
}

func (g *Gateway) replicas(h *nl.Handle, address netip.Addr) (numbers []byte, err error) {
	for _, table := range g.tables() {
		routes, err := h.AllRoutes(table)
		if err != nil {
			return nil, err
		}
		for _, r := range routes {
			if r.Prefix != netip.PrefixFrom(address, address.BitLen()) {
				continue
			}
			for _, hop := range append(r.Multipath, nl.NextHop{Gateway: r.Gateway}) {
				if hop.Gateway.IsValid() {
					b := hop.Gateway.AsSlice()
					numbers = append(numbers, b[len(b)-1])
				}
			}
		}
	}
	slices.Sort(numbers)
	return slices.Compact(numbers), nil
}

// addRules sends what clients send to the VIPs through both tables: BIRD
// replaces a route by taking it away first, in one table after the other, so
// that one of them has it at any time.
func (g *Gateway) addRules() error {
	return nl.Do(g.NetNS, func(h *nl.Handle) error {
		var errs []error
		for i, table := range []int{tableOne, tableOne + 1} {
			for _, from := range []netip.Prefix{g.site.routed.net4, g.site.routed.net6} {
				errs = append(errs, h.AddRule(nl.Rule{From: from, Table: table, Priority: policy + i}))
			}
		}
		return errors.Join(errs...)
	})
}

// neighbors are the addresses of the replicas.
func (g *Gateway) neighbors() (all []netip.Addr) {
	for number := byte(1); number <= g.o.Replicas; number++ {
		all = append(all, host(g.site.net4, number), host(g.site.net6, number))
	}
	return all
}

func (g *Gateway) birdConfig() string {
	var b strings.Builder
	v4, _ := g.Addresses()
	ms := g.o.Interval.Milliseconds()
	fmt.Fprintf(&b, `router id %s;
protocol device { scan time 1; }
protocol bfd { interface "%s" { min rx interval %d ms; min tx interval %d ms; idle tx interval %d ms; multiplier %d; }; }
protocol static { ipv4; route 0.0.0.0/0 blackhole; }
protocol static { ipv6; route ::/0 blackhole; }
`, v4, outside, ms, ms, max(ms, 200), g.o.Multiplier)
	for _, v := range []string{"4", "6"} {
		fmt.Fprintf(&b, `ipv%[1]s table second%[1]s;
protocol pipe { table master%[1]s; peer table second%[1]s; import none; export where source = RTS_BGP; }
protocol kernel { kernel table %[2]d; merge paths on; ipv%[1]s { import none; export where source = RTS_BGP; }; }
protocol kernel { kernel table %[3]d; merge paths on; ipv%[1]s { table second%[1]s; import none; export all; }; }
`, v, tableOne, tableOne+1)
	}
	for _, n := range g.neighbors() {
		family := "ipv4"
		if n.Is6() {
			family = "ipv6"
		}
		fmt.Fprintf(&b, `protocol bgp {
	local as %d; neighbor %s as %d; bfd on; graceful restart on; connect delay time 1; connect retry time 1; error wait time 1, 2;
	%s { import all; export where source = RTS_STATIC; next hop self; };
}
`, GatewayASN, n, ReplicaASN, family)
	}
	return b.String()
}

func (g *Gateway) frrConfig() string {
	var b strings.Builder
	v4, _ := g.Addresses()
	ms := g.o.Interval.Milliseconds()
	fmt.Fprintf(&b, `bfd
 profile fast
  receive-interval %d
  transmit-interval %d
  detect-multiplier %d
 exit
exit
router bgp %d
 bgp router-id %s
 no bgp ebgp-requires-policy
 no bgp network import-check
 bgp graceful-restart
`, ms, ms, g.o.Multiplier, GatewayASN, v4)
	families := map[bool]string{}
	for _, n := range g.neighbors() {
		fmt.Fprintf(&b, " neighbor %s remote-as %d\n neighbor %s bfd profile fast\n neighbor %s timers connect 1\n", n, ReplicaASN, n, n)
		if n.Is6() {
			fmt.Fprintf(&b, " no neighbor %s activate\n", n)
		}
		families[n.Is6()] += fmt.Sprintf("  neighbor %s activate\n  neighbor %s default-originate\n", n, n)
	}
	fmt.Fprintf(&b, " address-family ipv4 unicast\n%s exit-address-family\n address-family ipv6 unicast\n%s exit-address-family\nexit\n",
		families[false], families[true])
	return b.String()
}

// ownConfig is a frontend's whose gateways are the replicas and whose services
// are the clients.
func (g *Gateway) ownConfig() frontend.Config {
	r := g.site.routed
	c := frontend.Config{
		Replica: g.Name, Interface: outside, Table: tableOne,
		VIPs: []netip.Prefix{r.net4, r.net6}, Announce: []netip.Prefix{r.net4, r.net6}, GracefulRestart: frontend.DefaultGracefulRestart,
	}
	for _, n := range g.neighbors() {
		c.Gateways = append(c.Gateways, frontend.Gateway{
			Name: n.String(), Address: n,
			BGP: &frontend.BGP{LocalASN: GatewayASN, RemoteASN: ReplicaASN, HoldTime: 90 * time.Second, LocalPort: 179, RemotePort: 179},
			BFD: &frontend.BFD{MinTx: g.o.Interval, MinRx: g.o.Interval, Multiplier: g.o.Multiplier},
		})
	}
	return c
}

// Manifest returns the gateways of a routed site as resources of a trench, called
// gateway-v4 and gateway-v6 with the number of the router behind it from the
// second one on.
func (s *Site) Manifest(trench string, interval time.Duration, multiplier uint8) []byte {
	var b strings.Builder
	for i, g := range s.Gateways {
		suffix := ""
		if i > 0 {
			suffix = fmt.Sprint("-", i+1)
		}
		v4, v6 := g.Addresses()
		for name, address := range map[string]netip.Addr{"gateway-v4": v4, "gateway-v6": v6} {
			fmt.Fprintf(&b, `---
apiVersion: weft.dev/v1alpha1
kind: Gateway
metadata: {name: %s%s, namespace: %s, labels: {trench: %s}}
spec:
  address: %q
  protocol: bgp
  bgp: {local-asn: %d, remote-asn: %d, hold-time: 90s, bfd: {switch: true, min-tx: %s, min-rx: %s, multiplier: %d}}
`, name, suffix, trench, trench, address, ReplicaASN, GatewayASN, interval, interval, multiplier)
		}
	}
	return []byte(b.String())
}
