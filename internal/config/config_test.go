// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"log/slog"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weft-project/weft/internal/config"
)

type sample struct {
	config.Common
	Labels   map[string]string `env:"NSM_LABELS" default:"p2p:true"`
	Services []string          `env:"NSM_SERVICE_NAMES"`
	Prefixes []netip.Prefix    `env:"NSM_CIDR_PREFIX"`
	TunnelIP netip.Addr        `env:"NSM_TUNNEL_IP"`
	Listen   *url.URL          `env:"NSM_LISTEN_ON" default:"unix:///listen.on.socket"`
	Register bool              `env:"NSM_REGISTER_SERVICE" default:"true"`
	Port     uint16            `env:"NSM_VXLAN_PORT"`
	MTU      int               `env:"NSM_MTU"`
	Plain    string
}

func decode(t *testing.T, environ ...string) (sample, error) {
	t.Helper()
	var s sample
	return s, config.Decode(config.Environ(environ), &s)
}

func TestDecode(t *testing.T) {
	var got sample
	err := config.Decode(config.Environ([]string{
		"NSM_NAME=lb-1", "NSM_CONNECT_TO=tcp://nsmgr:5001", "NSM_MAX_TOKEN_LIFETIME=1m30s", "NSM_LOG_LEVEL=WARNING",
		"NSM_LABELS=app:lb,zone:a:b", "NSM_SERVICE_NAMES=lb.trench-a, lb.trench-b", "NSM_CIDR_PREFIX=172.16.0.0/24,fd00::/64",
		"NSM_TUNNEL_IP=192.0.2.1", "NSM_LISTEN_ON=unix:/tmp/x.sock", "NSM_REGISTER_SERVICE=false", "NSM_VXLAN_PORT=4789",
		"NSM_MTU=-1", "NSM_SOMETHING_OF_OTHERS=\x00", "noise",
	}), &got)
	if err != nil {
		t.Fatal(err)
	}
	want := sample{
		Common: config.Common{
			Name: "lb-1", ConnectTo: &url.URL{Scheme: "tcp", Host: "nsmgr:5001"},
			MaxTokenLifetime: 90 * time.Second, DialTimeout: 10 * time.Second, LogLevel: config.Level(slog.LevelWarn),
		},
		Labels:   map[string]string{"app": "lb", "zone": "a:b"},
		Services: []string{"lb.trench-a", "lb.trench-b"},
		Prefixes: []netip.Prefix{netip.MustParsePrefix("172.16.0.0/24"), netip.MustParsePrefix("fd00::/64")},
		TunnelIP: netip.MustParseAddr("192.0.2.1"), Listen: &url.URL{Scheme: "unix", Path: "/tmp/x.sock"},
		Port: 4789, MTU: -1,
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); diff != "" {
		t.Error(diff)
	}
}

func TestDefaults(t *testing.T) {
	var got sample
	// A deployment that sets a variable to nothing means the default.
	if err := config.Decode(config.Environ([]string{"NSM_LABELS="}), &got); err != nil {
		t.Fatal(err)
	}
	if got.Labels["p2p"] != "true" || !got.Register || got.Listen.Path != "/listen.on.socket" || got.TunnelIP.IsValid() {
		t.Errorf("defaults: %+v", got)
	}
}

func TestProblemsNameTheVariable(t *testing.T) {
	for entry, want := range map[string]string{
		"NSM_CONNECT_TO=http://x":        `NSM_CONNECT_TO="http://x": want unix:///path or tcp://host:port`,
		"NSM_CONNECT_TO=unix://":         `NSM_CONNECT_TO="unix://": want unix:///path or tcp://host:port`,
		"NSM_CONNECT_TO=unix://a/b":      `NSM_CONNECT_TO="unix://a/b": want unix:///path or tcp://host:port`,
		"NSM_CONNECT_TO=%":               `NSM_CONNECT_TO="%": want unix:///path or tcp://host:port`,
		"NSM_MAX_TOKEN_LIFETIME=10":      `NSM_MAX_TOKEN_LIFETIME="10": want a duration like 1m30s: time: missing unit in duration "10"`,
		"NSM_DIAL_TIMEOUT=-1s":           `NSM_DIAL_TIMEOUT="-1s": want a duration like 1m30s: is negative`,
		"NSM_LOG_LEVEL=loud":             `NSM_LOG_LEVEL="loud": log level "loud" is none of trace, debug, info, warn, error`,
		"NSM_LABELS=a":                   `NSM_LABELS="a": entry "a": want key:value`,
		"NSM_LABELS=a:b,":                `NSM_LABELS="a:b,": entry "": want key:value`,
		"NSM_LABELS=a:b,a:c":             `NSM_LABELS="a:b,a:c": key "a" is there twice`,
		"NSM_SERVICE_NAMES=a,,b":         `NSM_SERVICE_NAMES="a,,b": entry 2 of the list is empty`,
		"NSM_REGISTER_SERVICE=yes maybe": `NSM_REGISTER_SERVICE="yes maybe": want true or false`,
		"NSM_VXLAN_PORT=65536":           `NSM_VXLAN_PORT="65536": want a number of 16 bits, not negative`,
		"NSM_MTU=large":                  `NSM_MTU="large": want a number of 64 bits`,
	} {
		if _, err := decode(t, entry); err == nil || err.Error() != want {
			t.Errorf("%s:\n got %v\nwant %s", entry, err, want)
		}
	}
	_, err := decode(t, "NSM_CIDR_PREFIX=10.0.0.0/33", "NSM_TUNNEL_IP=nowhere")
	if err == nil || !strings.Contains(err.Error(), "NSM_CIDR_PREFIX") || !strings.Contains(err.Error(), "NSM_TUNNEL_IP") {
		t.Errorf("both problems: %v", err)
	}
}

func TestUsage(t *testing.T) {
	got := config.Usage(&sample{})
	for _, want := range []string{
		"NSM_MAX_TOKEN_LIFETIME\thow long a connection lives without refresh (default 10m)\n", "NSM_LABELS\t (default p2p:true)\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("usage misses %q:\n%s", want, got)
		}
	}
}
