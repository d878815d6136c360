// SPDX-License-Identifier: Apache-2.0

package bgp

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

func TestConfigProblems(t *testing.T) {
	good := func() Config {
		return Config{RouterID: netip.MustParseAddr("10.0.0.1"), Peers: []Peer{
			{Name: "a", Address: netip.MustParseAddr("192.0.2.2"), LocalASN: 64512, RemoteASN: 65001},
			{Name: "b", Address: netip.MustParseAddr("2001:db8::2"), LocalASN: 64512, RemoteASN: 65001},
		}}
	}
	for _, c := range []struct {
		want   string
		change func(*Config)
	}{
		{"", func(*Config) {}},
		{"router id ::1", func(c *Config) { c.RouterID = netip.IPv6Loopback() }},
		{"graceful restart time 2h0m0s", func(c *Config) { c.GracefulRestart = 2 * time.Hour }},
		{"prefix 10.0.0.1/8", func(c *Config) { c.Announce = []netip.Prefix{netip.MustParsePrefix("10.0.0.1/8")} }},
		{`gateway "a" is there twice`, func(c *Config) { c.Peers[1].Name = "a" }},
		{`address 192.0.2.2 is that of gateway "a"`, func(c *Config) { c.Peers[1].Address = c.Peers[0].Address }},
		{"name is empty", func(c *Config) { c.Peers[0].Name = "" }},
		{"address 0.0.0.0", func(c *Config) { c.Peers[0].Address = netip.IPv4Unspecified() }},
		{"no interface", func(c *Config) { c.Peers[0].Address = netip.MustParseAddr("fe80::1") }},
		{"local AS is 0", func(c *Config) { c.Peers[0].LocalASN = 0 }},
		{"remote AS is 0", func(c *Config) { c.Peers[0].RemoteASN = 0 }},
		{"hold time 2s", func(c *Config) { c.Peers[0].HoldTime = 2 * time.Second }},
		{"password of 81 bytes", func(c *Config) { c.Peers[0].Password = strings.Repeat("x", 81) }},
		{"exclude each other", func(c *Config) { c.Peers[0].TTLSecurity, c.Peers[0].Multihop = 1, 2 }},
		{"IPv4 next hop ::1", func(c *Config) { c.Peers[0].NextHop4 = netip.IPv6Loopback() }},
		{"IPv6 next hop 10.0.0.1", func(c *Config) { c.Peers[0].NextHop6 = c.RouterID }},
		{"need a session over IPv6", func(c *Config) { c.Peers[0].ExtendedNextHop = true }},
		{"limit of -1 prefixes", func(c *Config) { c.Peers[0].MaxPrefixes = -1 }},
	} {
		config := good()
		c.change(&config)
		_, err := config.normal()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("want %q, got %v", c.want, err)
		}
	}
}

func TestExplain(t *testing.T) {
	us := target{Peer: Peer{LocalASN: 64512, HoldTime: 9 * time.Second}, routerID: netip.MustParseAddr("10.0.0.1")}
	for _, c := range []struct {
		code, subcode uint8
		data          string
		want          string
	}{
		{2, 2, "", "bad peer AS (ours is 64512)"},
		{2, 3, "", "bad router id (ours is 10.0.0.1)"},
		{2, 6, "", "unacceptable hold time (ours is 9s)"},
		{2, 7, "\x01\x04\x00\x02\x00\x01", "unsupported capability (it wants IPv6 on this session)"},
		{2, 7, "\x01", "unsupported capability"},
		{4, 0, "", "hold timer expired (it has not heard from us in time)"},
		{6, 2, "\x05bye\x1b!", `administrative shutdown ("bye !")`},
		{6, 2, "\x09bye", "administrative shutdown"},
		{6, 1, "", "maximum number of prefixes reached"},
		{6, 99, "", "cease (code 6, subcode 99)"},
		{99, 1, "", "error of code 99, subcode 1"},
	} {
		got := us.explain(&bgp.BGPNotification{ErrorCode: c.code, ErrorSubcode: c.subcode, Data: []byte(c.data)})
		if got != "the gateway says: "+c.want {
			t.Errorf("code %d, subcode %d: %q, want %q", c.code, c.subcode, got, c.want)
		}
	}
}

func TestCounters(t *testing.T) {
	const text = "TcpExt: SyncookiesSent TCPMD5NotFound TCPMD5Failure\nTcpExt: 7 3 5\nIpExt: InOctets\nIpExt: 9\n"
	seen := parseCounters(text).since(counters{"TCPMD5NotFound": 3, "TCPMD5Failure": 1})
	if len(seen) != 1 || seen["TCPMD5Failure"] != 4 {
		t.Errorf("counted %v", seen)
	}
}

// Collisions are settled the same way from both sides (RFC 4271, 6.8).
func TestDominates(t *testing.T) {
	a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	for _, c := range []struct {
		us, them     netip.Addr
		ourAS, their uint32
		want         bool
	}{{a, b, 1, 2, false}, {b, a, 1, 2, true}, {a, a, 1, 2, false}, {a, a, 2, 1, true}} {
		if got := (target{routerID: c.us, Peer: Peer{LocalASN: c.ourAS}}).dominates(remoteOpen{id: c.them, asn: c.their}); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
