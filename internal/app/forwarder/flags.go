// SPDX-License-Identifier: Apache-2.0

package forwarder

import (
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"

	"github.com/weft-project/weft/internal/app/service"
	"github.com/weft-project/weft/internal/liveness"
	"github.com/weft-project/weft/internal/stitch"
	"github.com/weft-project/weft/internal/wireguard"
	"github.com/weft-project/weft/pkg/networkservice/tunnelmech"
)

// flags are what upstream's forwarders have no variables for.
type flags struct {
	passSocket        bool
	pinDir, onStop    string
	grace             time.Duration
	mechanism, policy string
	interval          time.Duration
	multiplier        int
	mode, dir         string
	port              uint
	rotation          time.Duration
	cleanup, dryRun   bool
	adminSocket       string
}

func (f *flags) define(set *flag.FlagSet) {
	set.BoolVar(&f.passSocket, "pass-socket", true, "register with a descriptor of a unix socket, not its path")
	set.StringVar(&f.pinDir, "pin-dir", "", "directory in a BPF file system to pin the data path in: it outlives the process, and the next one takes it over")
	set.BoolVar(&f.cleanup, "cleanup", false, "remove what an earlier forwarder with the same flags and environment has left, say what that was, and exit")
	set.BoolVar(&f.dryRun, "dry-run", false, "with --cleanup: only say what it would remove")
	set.StringVar(&f.adminSocket, "admin-socket", "", "unix socket for weft check, for its owner only (default: none)")
	set.StringVar(&f.onStop, "on-stop", "", "what becomes of the data path when told to stop: keep or remove (default keep with --pin-dir)")
	set.DurationVar(&f.grace, "grace", stitch.DefaultGrace, "how long what an earlier forwarder left waits for its connections")
	set.StringVar(&f.mechanism, "mechanism", tunnelmech.VXLAN, "way to other nodes for network services that name none: vxlan or wireguard")
	set.StringVar(&f.policy, "mechanism-policy", tunnelmech.Preferred, "whether that is preferred or required")
	set.DurationVar(&f.interval, "liveness-interval", liveness.DefaultInterval, "how often another node is probed")
	set.IntVar(&f.multiplier, "liveness-multiplier", liveness.DefaultMultiplier, "how many probes without answer mean that it is dead")
	set.StringVar(&f.mode, "wireguard", string(wireguard.Auto), "who encrypts: kernel, userspace, auto (the kernel where it can) or off")
	set.StringVar(&f.dir, "wireguard-dir", "/run/weft/wireguard", "directory of WireGuard's control sockets, of this forwarder alone")
	set.UintVar(&f.port, "wireguard-port", wireguard.DefaultPort, "UDP port of WireGuard; the next one is used, too")
	set.DurationVar(&f.rotation, "key-rotation", wireguard.DefaultRotate, "how old WireGuard's keys get; negative: forever")
}

// apply returns the configuration with the flags.
func (f *flags) apply(c Config) (Config, error) {
	c.PassSocket = f.passSocket && c.ListenOn.Scheme == "unix"
	c.PinDir, c.Grace = f.pinDir, f.grace
	keep, err := KeepOnStop(f.onStop, f.pinDir != "")
	if err != nil {
		return c, fmt.Errorf("--on-stop: %w", err)
	}
	c.KeepOnStop = keep
	if c.Policy, err = tunnelmech.ParsePolicy(f.mechanism, f.policy); err != nil {
		return c, fmt.Errorf("--mechanism: %w", err)
	}
	if f.dryRun && !f.cleanup {
		return c, errors.New("--dry-run: needs --cleanup")
	}
	if len(f.adminSocket) > service.MaxSocketPath {
		return c, fmt.Errorf("--admin-socket %s has more than %d bytes", f.adminSocket, service.MaxSocketPath)
	}
	c.LivenessInterval, c.LivenessMultiplier = f.interval, f.multiplier
	if f.port == 0 || f.port >= 1<<16-1 {
		return c, fmt.Errorf("--wireguard-port: %d is not within 1 to 65534", f.port)
	}
	c.WireGuard, c.WireGuardDir, c.WireGuardPort, c.KeyRotation = wireguard.Mode(strings.ToLower(f.mode)), f.dir, uint16(f.port), f.rotation
	return c, nil
}

// KeepOnStop parses what to do at the end; empty is keep where it is possible.
func KeepOnStop(text string, possible bool) (bool, error) {
	switch text {
	case "":
		return possible, nil
	case "remove":
		return false, nil
	case "keep":
		if !possible {
			return false, fmt.Errorf("nothing can be kept that is not pinned")
		}
		return true, nil
	}
	return false, fmt.Errorf("%q is neither keep nor remove", text)
}
