// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// uapiLimit bounds one exchange with a process.
const uapiLimit = 10 * time.Second

// uapi configures the device of a process by WireGuard's cross-platform
// protocol (https://www.wireguard.com/xplatform/). wgctrl speaks it, too, but
// only with sockets in /var/run/wireguard.
type uapi struct{ socket string }

func (u uapi) state() (*wgtypes.Device, error) {
	var device *wgtypes.Device
	err := u.exchange("get=1\n\n", func(r *bufio.Reader) (err error) {
		device, err = parseDevice(r)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("get state of WireGuard process: %w", err)
	}
	return device, nil
}

func (u uapi) configure(cfg wgtypes.Config) error {
	err := u.exchange("set=1\n"+formatConfig(cfg)+"\n", func(r *bufio.Reader) error {
		_, err := parseDevice(r)
		return err
	})
	if err != nil {
		return fmt.Errorf("configure WireGuard process: %w", err)
	}
	return nil
}

func (u uapi) close() error { return nil }

func (u uapi) exchange(request string, read func(*bufio.Reader) error) error {
	conn, err := net.DialTimeout("unix", u.socket, uapiLimit)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(uapiLimit)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte(request)); err != nil {
		return err
	}
	return read(bufio.NewReader(conn))
}

func formatConfig(cfg wgtypes.Config) string {
	var b strings.Builder
	line := func(key string, value any) { fmt.Fprintf(&b, "%s=%v\n", key, value) }
	if cfg.PrivateKey != nil {
		line("private_key", hex.EncodeToString(cfg.PrivateKey[:]))
	}
	if cfg.ListenPort != nil {
		line("listen_port", *cfg.ListenPort)
	}
	for _, peer := range cfg.Peers {
		line("public_key", hex.EncodeToString(peer.PublicKey[:]))
		if peer.Remove {
			line("remove", true)
			continue
		}
		if peer.Endpoint != nil {
			line("endpoint", peer.Endpoint)
		}
		if peer.ReplaceAllowedIPs {
			line("replace_allowed_ips", true)
		}
		for i := range peer.AllowedIPs {
			line("allowed_ip", &peer.AllowedIPs[i])
		}
		if peer.PersistentKeepaliveInterval != nil {
			line("persistent_keepalive_interval", int(peer.PersistentKeepaliveInterval.Seconds()))
		}
	}
	return b.String()
}

// parseDevice reads an answer up to its empty line.
func parseDevice(r *bufio.Reader) (*wgtypes.Device, error) {
	device := &wgtypes.Device{Type: wgtypes.Userspace}
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return nil, fmt.Errorf("read answer: %w", err)
		}
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			break
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			return nil, errors.New("line without =")
		}
		if key == "errno" {
			if number, err := strconv.Atoi(value); err != nil || number != 0 {
				return nil, answerError(value, -number)
			}
			continue
		}
		if err := parseLine(device, key, value); err != nil {
			return nil, fmt.Errorf("%s: %w", key, err) // the value may be a secret
		}
	}
	return device, nil
}

func answerError(value string, number int) error {
	if number <= 0 {
		return fmt.Errorf("errno %q", value)
	}
	return syscall.Errno(number)
}

func parseLine(device *wgtypes.Device, key, value string) (err error) {
	switch key {
	case "private_key":
		device.PrivateKey, err = parseHexKey(value)
		device.PublicKey = device.PrivateKey.PublicKey()
		return err
	case "listen_port":
		device.ListenPort, err = strconv.Atoi(value)
		return err
	case "public_key":
		peer := wgtypes.Peer{}
		peer.PublicKey, err = parseHexKey(value)
		device.Peers = append(device.Peers, peer)
		return err
	}
	if len(device.Peers) == 0 {
		return nil // a setting of the device that is never made here
	}
	return parsePeerLine(&device.Peers[len(device.Peers)-1], key, value)
}

func parsePeerLine(peer *wgtypes.Peer, key, value string) error {
	switch key {
	case "endpoint":
		endpoint, err := netip.ParseAddrPort(value)
		if err != nil {
			return err
		}
		peer.Endpoint = net.UDPAddrFromAddrPort(endpoint)
	case "last_handshake_time_sec":
		seconds, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return err
		}
		if seconds != 0 {
			peer.LastHandshakeTime = time.Unix(seconds, 0)
		}
	case "allowed_ip":
		_, prefix, err := net.ParseCIDR(value)
		if err != nil {
			return err
		}
		peer.AllowedIPs = append(peer.AllowedIPs, *prefix)
	}
	return nil
}

func parseHexKey(value string) (wgtypes.Key, error) {
	raw, err := hex.DecodeString(value)
	if err != nil {
		return wgtypes.Key{}, errors.New("no hexadecimal key")
	}
	key, err := wgtypes.NewKey(raw)
	if err != nil {
		return wgtypes.Key{}, errors.New("no key of 32 bytes")
	}
	return key, nil
}
