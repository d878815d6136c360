// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weft-project/weft/internal/netns"
)

// Mode says who runs WireGuard.
type Mode string

// The modes. Auto is the kernel where it has WireGuard, else a process.
const (
	Auto      Mode = "auto"
	Kernel    Mode = "kernel"
	Userspace Mode = "userspace"
)

// Defaults of Config.
const (
	DefaultPort   = 51820
	DefaultRotate = 24 * time.Hour
	DefaultGrace  = 5 * time.Minute
)

// DeviceName is the VXLAN device's.
const DeviceName = "weft-vxwg"

var (
	// ErrNoWireGuard says that the kernel has no WireGuard.
	ErrNoWireGuard = errors.New("this kernel has no WireGuard")
	// ErrCollision says that two keys hash to one address.
	ErrCollision = errors.New("two public keys have the same inner address")
	// ErrUnknownOffer says that a key is of no generation (any more): the other
	// node has to be told the current one.
	ErrUnknownOffer = errors.New("not the key of a generation of this node")
	// ErrClosed says that the Manager is closed.
	ErrClosed = errors.New("closed")
)

// Config configures a Manager.
type Config struct {
	// NetNS is the node's namespace; empty is the process's.
	NetNS string
	// Dir is the directory of the processes' control sockets. It identifies the
	// Manager on the host: the next Open with the same Dir adopts.
	Dir string
	// Mode is Auto when empty.
	Mode Mode
	// Port and the one after it are the UDP ports of the generations,
	// DefaultPort if 0.
	Port uint16
	// Local is the node's address toward other nodes. Peers are of its family.
	Local netip.Addr
	// Rotate is how old a key gets, DefaultRotate if 0; negative: forever.
	Rotate time.Duration
	// Grace is how long adopted peers may stay without a Join, DefaultGrace if 0.
	Grace time.Duration
	// Log is slog.Default() if nil. Private keys are never logged.
	Log *slog.Logger
}

func (c Config) withDefaults() (Config, error) {
	var problems []error
	bad := func(field, format string, args ...any) {
		problems = append(problems, fmt.Errorf("%s: %w", field, fmt.Errorf(format, args...)))
	}
	if c.Mode == "" {
		c.Mode = Auto
	}
	if c.Mode != Auto && c.Mode != Kernel && c.Mode != Userspace {
		bad("Mode", "%q is neither auto nor kernel nor userspace", c.Mode)
	}
	if c.Port == 0 {
		c.Port = DefaultPort
	}
	if c.Port == 1<<16-1 {
		bad("Port", "%d has no port after it", c.Port)
	}
	c.Local = c.Local.Unmap()
	if !c.Local.IsValid() || c.Local.IsUnspecified() || c.Local.IsMulticast() || c.Local.Zone() != "" {
		bad("Local", "%q is no address of a node", c.Local)
	}
	if c.Dir == "" {
		bad("Dir", "empty")
	} else if dir, err := filepath.Abs(c.Dir); err != nil {
		bad("Dir", "%w", err)
	} else {
		c.Dir = dir
	}
	if longest := filepath.Join(c.Dir, socketName(maxGeneration)); len(longest) > maxSocketPath {
		bad("Dir", "%s is %d characters too long for a socket", c.Dir, len(longest)-maxSocketPath)
	}
	if c.Rotate == 0 {
		c.Rotate = DefaultRotate
	}
	if c.Grace == 0 {
		c.Grace = DefaultGrace
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.NetNS == "" {
		// Threads of this process may be elsewhere for a while.
		c.NetNS = "/proc/self/ns/net"
	}
	if _, err := netns.Inode(c.NetNS); err != nil {
		bad("NetNS", "%w", err)
	}
	return c, errors.Join(problems...)
}

// Offer is what another node needs to know of this one.
type Offer struct {
	Port      uint16
	PublicKey string // base64
}

// Peer is another node, as it has made itself known.
type Peer struct {
	Addr      netip.Addr
	Port      uint16
	PublicKey string // base64
	// Offered is the Offer's PublicKey that the other node has been told, or is
	// about to be; empty: the present one.
	Offered string
}

func (p Peer) validate(local netip.Addr) (key wgtypes.Key, err error) {
	var problems []error
	switch addr := p.Addr.Unmap(); {
	case !addr.IsValid() || addr.IsUnspecified() || addr.IsMulticast():
		problems = append(problems, fmt.Errorf("peer Addr: %q is no address of a node", p.Addr))
	case addr.Is4() != local.Is4():
		problems = append(problems, fmt.Errorf("peer Addr: %s is not of the same family as %s", addr, local))
	case addr == local:
		problems = append(problems, fmt.Errorf("peer Addr: %s is this node", addr))
	}
	if p.Port == 0 {
		problems = append(problems, errors.New("peer Port: 0"))
	}
	key, err = wgtypes.ParseKey(p.PublicKey)
	if err != nil || key == (wgtypes.Key{}) {
		problems = append(problems, fmt.Errorf("peer PublicKey: %q is not 32 bytes in base64", p.PublicKey))
	}
	return key, errors.Join(problems...)
}

// Path is how packets of a connection go.
type Path struct {
	// Device is the index of the VXLAN device in the node's namespace.
	Device int
	// Local and Remote are the tunnel's inner addresses.
	Local, Remote netip.Addr
	// Former are addresses other than Remote from which the other node may still
	// send on this connection, until the following Join.
	Former []netip.Addr
	// MTU is how long IP packets in frames through the tunnel may be.
	MTU int
}
