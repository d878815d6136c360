// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"bufio"
	"encoding/hex"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

func TestUAPIAnswers(t *testing.T) {
	key := wgtypes.Key{1, 2, 3}
	text := "private_key=" + hex.EncodeToString(key[:]) + "\nlisten_port=51820\nfwmark=1\n" +
		"public_key=" + hex.EncodeToString(key[:]) + "\nendpoint=[fd00::1]:7\nlast_handshake_time_sec=5\n" +
		"last_handshake_time_nsec=6\ntx_bytes=3\nrx_bytes=8\nallowed_ip=fd00::9/128\nerrno=0\n\nrest"
	device, err := parseDevice(bufio.NewReader(strings.NewReader(text)))
	must(t, err)
	_, allowed, _ := net.ParseCIDR("fd00::9/128")
	want := &wgtypes.Device{
		Type: wgtypes.Userspace, PrivateKey: key, PublicKey: key.PublicKey(), ListenPort: 51820,
		Peers: []wgtypes.Peer{{
			PublicKey: key, Endpoint: &net.UDPAddr{IP: net.ParseIP("fd00::1"), Port: 7},
			LastHandshakeTime: time.Unix(5, 0), ReceiveBytes: 8, AllowedIPs: []net.IPNet{*allowed},
		}},
	}
	if diff := cmp.Diff(want, device); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	for text, want := range map[string]string{
		"":                       "read answer",
		"errno=0\n":              "read answer",
		"hello\n\n":              "without =",
		"errno=x\n\n":            "errno",
		"private_key=secret\n\n": "private_key: no hexadecimal key",
		"public_key=00\n\n":      "public_key: no key of 32 bytes",
		"listen_port=many\n\n":   "listen_port",
		"public_key=" + hex.EncodeToString(key[:]) + "\nendpoint=nowhere\n\n": "endpoint",
	} {
		_, err := parseDevice(bufio.NewReader(strings.NewReader(text)))
		wantError(t, text, err, want)
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%v tells a key", err)
		}
	}
	_, err = parseDevice(bufio.NewReader(strings.NewReader("errno=-98\n\n")))
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("errno -98: %v", err)
	}
}

func FuzzUAPIAnswer(f *testing.F) {
	f.Add("private_key=00\nlisten_port=1\n\n")
	f.Add("public_key=0102\nendpoint=1.2.3.4:5\nallowed_ip=fd00::/8\nerrno=0\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		device, err := parseDevice(bufio.NewReader(strings.NewReader(text)))
		if (device == nil) == (err == nil) {
			t.Errorf("%v, %v", device, err)
		}
	})
}
