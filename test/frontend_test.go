// SPDX-License-Identifier: Apache-2.0

package test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/testutil/router"
)

const wire = "wire" // the bridge in the router's namespace

// newWire is a site whose replicas share a link with the router.
func newWire(t *testing.T) *site {
	t.Helper()
	o := newSite(t, 1)
	o.bridged = true
	withHandle(t, o.router, func(h *nl.Handle) {
		bridge, err := h.AddBridge(wire)
		must(t, err)
		must(t, h.SetUp(bridge.Index))
		for _, p := range []netip.Prefix{o.net4, o.net6} {
			must(t, h.AddAddress(bridge.Index, netip.PrefixFrom(o.gateway(p), p.Bits())))
		}
	})
	return o
}

// birdOf is a gateway of both families for replicas, with a default route for
// them.
func (o *site) birdOf(password string, replicas ...byte) string {
	var b strings.Builder
	b.WriteString(`router id 10.1.0.254;
protocol device { scan time 1; }
protocol kernel kernel4 { ipv4 { export where source = RTS_BGP; import none; }; merge paths on; }
protocol kernel kernel6 { ipv6 { export where source = RTS_BGP; import none; }; merge paths on; }
protocol static default4 { ipv4; route 0.0.0.0/0 unreachable; }
protocol static default6 { ipv6; route ::/0 unreachable; }
protocol bfd { interface "*" { min rx interval 100 ms; min tx interval 100 ms; multiplier 3; }; }
`)
	if password != "" {
		password = fmt.Sprintf("password %q;", password)
	}
	for _, n := range replicas {
		for _, f := range []struct {
			family string
			net    netip.Prefix
		}{{"ipv4", o.net4}, {"ipv6", o.net6}} {
			fmt.Fprintf(&b, `protocol bgp lb%d%s {
  local %s as 65002; neighbor %s as 65001; bfd on; hold time 90; connect retry time 1; connect delay time 1; error wait time 1, 2; %s
  %s { import all; export where source = RTS_STATIC; next hop self; };
}
`, n, f.family, o.gateway(f.net), host(f.net, n), password, f.family)
		}
	}
	return b.String()
}

// bgpGateways are the demo's gateways of trench-a as BGP routers.
func bgpGateways(more string) string {
	var b strings.Builder
	for name, address := range map[string]string{"gateway-v4": "10.1.0.254", "gateway-v6": "fd01::fe"} {
		fmt.Fprintf(&b, `---
apiVersion: weft.dev/v1alpha1
kind: Gateway
metadata: {name: %s, namespace: trench-a, labels: {trench: trench-a}}
spec:
  address: %q
  protocol: bgp
  bgp: {local-asn: 65001, remote-asn: 65002, hold-time: 90s, bfd: {switch: true, min-tx: 100ms, min-rx: 100ms}%s}
`, name, address, more)
	}
	return b.String()
}

// hops returns the next hops that the router's BIRD has for a VIP.
func hops(b *router.BIRD, vip netip.Addr) []string {
	var out []string
	for _, r := range b.Routes("") {
		if r.Prefix == netip.PrefixFrom(vip, vip.BitLen()) {
			for _, h := range r.NextHops {
				out = append(out, h.String())
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// announced waits until the router has exactly these replicas for both VIPs.
func (o *site) announced(b *router.BIRD, what string, replicas ...byte) {
	o.t.Helper()
	testutil.Eventually(o.t, 30*time.Second, what, func() bool {
		for _, vip := range vips {
			net := o.net4
			if vip.Is6() {
				net = o.net6
			}
			var want []string
			for _, n := range replicas {
				want = append(want, host(net, n).String())
			}
			slices.Sort(want)
			if !slices.Equal(hops(b, vip), want) {
				return false
			}
		}
		return true
	})
}

// show is what `weft get` says of a kind, with the messages.
func (s *stack) show(args ...string) string {
	s.t.Helper()
	return s.weft(s.AdminSocket(), "", args...).out
}

// says waits until a command's output has a text.
func (s *stack) says(text string, args ...string) {
	s.t.Helper()
	defer func() {
		if s.t.Failed() {
			s.t.Logf("weft %s:\n%s", strings.Join(args, " "), s.show(args...))
		}
	}()
	testutil.Eventually(s.t, 30*time.Second, fmt.Sprintf("%q in weft %s", text, strings.Join(args, " ")), func() bool {
		return strings.Contains(s.show(args...), text)
	})
}

// TestFrontend: a VIP is announced to a real router while its traffic is
// forwarded, and only then.
func TestFrontend(t *testing.T) {
	testutil.Require(t, "bird")
	s := newStack(t)
	o := newWire(t)
	bird := router.StartBIRD(t, o.router, o.birdOf("", 1, 2))
	s.apply(bgpGateways(""))
	s.addReplica(o, "trench-a", 1)
	testutil.Eventually(t, 30*time.Second, "sessions", func() bool {
		return bird.Protocol("lb1ipv4").Info == "Established" && bird.Protocol("lb1ipv6").Info == "Established"
	})
	o.announced(bird, "nothing without a target")
	s.says("stream", "get", "vips", "-o", "json")

	web := s.addWorkload("w1")
	web.attach("trench-a", "web")
	o.announced(bird, "the VIPs with a target", 1)
	o.reach(webPort, web)

	s.addReplica(o, "trench-a", 2)
	o.announced(bird, "the VIPs by two replicas", 1, 2)
	s.awaitTargets("trench-a", "web", web)
	o.reach(webPort, web)

	l := o.load(destinations(webPort)...)
	s.stopReplica(s.replicas[1])
	l.untouched("a replica drains")
	o.announced(bird, "the VIPs by the replica that is left", 1)

	since := bird.Protocol("lb1ipv4").Since
	for i := range 100 {
		s.apply(vip("more", fmt.Sprintf("20.0.1.%d/32", i)) + flow("more", "web", "more", "5000", 1))
	}
	if got := bird.Protocol("lb1ipv4").Since; got.Sub(since).Abs() > time.Millisecond /* BIRD rounds */ {
		t.Errorf("100 changes of VIPs: the session is of %v, was of %v", got, since)
	}
	l.untouched("100 changes of VIPs")
	l.pool.Stop()
	l.steady.Stop()

	web.detach("trench-a")
	o.announced(bird, "nothing after the last target")
	s.says("NoTarget", "get", "vips", "-o", "json")
}

// TestFrontendPassword: a password that differs is told, and one that is put
// right works without a restart.
func TestFrontendPassword(t *testing.T) {
	testutil.Require(t, "bird")
	s := newStack(t)
	o := newWire(t)
	bird := router.StartBIRD(t, o.router, o.birdOf("right", 1))
	secret := filepath.Join(s.dir, "secrets", "bgp", "key")
	s.apply(bgpGateways(", auth: {key-source: bgp, key-name: key}"))
	s.addReplica(o, "trench-a", 1)
	s.says("SecretMissing", "get", "gateways", "-o", "json")
	must(t, os.MkdirAll(filepath.Dir(secret), 0o700))
	must(t, os.WriteFile(secret, []byte("wrong\n"), 0o600))
	s.says("MD5", "get", "gateways", "-o", "json")
	must(t, os.WriteFile(secret, []byte("right\n"), 0o600))
	testutil.Eventually(t, 30*time.Second, "sessions", func() bool {
		return bird.Protocol("lb1ipv4").Info == "Established" && bird.Protocol("lb1ipv6").Info == "Established"
	})
}
