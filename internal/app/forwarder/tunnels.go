// SPDX-License-Identifier: Apache-2.0

package forwarder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weft-project/weft/internal/liveness"
	"github.com/weft-project/weft/internal/stitch"
	"github.com/weft-project/weft/internal/tunnel"
	"github.com/weft-project/weft/internal/wireguard"
	"github.com/weft-project/weft/pkg/dataplane/xconnect"
	"github.com/weft-project/weft/pkg/networkservice/tunnelmech"
)

// tunnels are the ways to other nodes.
type tunnels struct {
	config    Config
	log       *slog.Logger
	device    *tunnel.Device
	liveness  *liveness.Liveness
	encrypted *encrypted // nil: switched off
}

// openTunnels makes or adopts the tunnel devices. They have to be there before
// the stitcher adopts legs that lead through them.
func openTunnels(config Config, logger *slog.Logger) (*tunnels, error) {
	t := &tunnels{config: config, log: logger}
	var err error
	t.device, err = tunnel.Open(tunnel.Config{
		NetNS: config.NetNS, Port: config.tunnelPort(), Alias: "weft:" + tunnel.DefaultName,
	})
	if err != nil {
		return nil, err
	}
	if config.WireGuard == WireGuardOff {
		return t, nil
	}
	t.encrypted = &encrypted{config: config, log: logger}
	// What an earlier process has left goes on, and needs somebody to rotate its
	// keys; else nothing is made until somebody wants it.
	if found, err := os.ReadDir(config.WireGuardDir); err == nil && len(found) > 0 {
		if _, err := t.encrypted.open(); err != nil {
			return nil, errors.Join(err, t.device.Close(true))
		}
	}
	return t, nil
}

// follow makes what follows other nodes; the stitcher closes it.
func (t *tunnels) follow(plane *xconnect.XConnect, changed func(xconnect.Tunnel)) (stitch.Remotes, error) {
	var err error
	t.liveness, err = liveness.New(liveness.Options{
		Plane: plane, Underlay: t.underlayOf, Port: t.config.tunnelPort(),
		Interval: t.config.LivenessInterval, Multiplier: t.config.LivenessMultiplier,
		Changed: changed, Logger: t.log,
	})
	if err != nil {
		return nil, err // not a nil pointer in an interface
	}
	return t.liveness, nil
}

// attach lets frames in, once the stitcher has adopted what they are for.
func (t *tunnels) attach(s *stitch.Stitcher) error {
	if err := s.AttachDevice(t.device.Index()); err != nil {
		return err
	}
	if t.encrypted == nil {
		return nil
	}
	return t.encrypted.attach(s.AttachDevice)
}

func (t *tunnels) underlayOf(device int) string {
	if t.encrypted != nil {
		if m := t.encrypted.opened(); m != nil && m.Device() == device {
			return m.Private()
		}
	}
	return t.config.NetNS
}

func (t *tunnels) mechanisms(vnis tunnelmech.VNIs) tunnelmech.Config {
	config := tunnelmech.Config{Underlay: underlay{t}, VNIs: vnis, Policy: t.config.Policy}
	if t.encrypted != nil {
		config.Encrypted = t.encrypted
	}
	return config
}

func (t *tunnels) close(keep bool) error {
	var errs []error
	if t.encrypted != nil {
		errs = append(errs, t.encrypted.close(keep))
	}
	return errors.Join(append(errs, t.device.Close(keep))...)
}

// registerMetrics returns what undoes it.
func (t *tunnels) registerMetrics(metrics prometheus.Registerer) (func() error, error) {
	if err := metrics.Register(t.liveness); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return func() error { metrics.Unregister(t.liveness); return nil }, nil
}

// underlay is the plain way.
type underlay struct{ *tunnels }

func (u underlay) Device() int                        { return u.device.Index() }
func (u underlay) Local() netip.Addr                  { return u.config.TunnelIP.Unmap() }
func (u underlay) Port() uint16                       { return u.config.tunnelPort() }
func (u underlay) MTU(remote netip.Addr) (int, error) { return u.device.MTU(remote) }

// encrypted is the encrypted way, made when somebody wants it.
type encrypted struct {
	config Config
	log    *slog.Logger

	mu       sync.Mutex
	manager  *wireguard.Manager
	attachTo func(ifindex int) error // the stitcher's, nil before attach
	attached bool
	closed   bool
}

func (e *encrypted) opened() *wireguard.Manager {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.manager
}

func (e *encrypted) open() (*wireguard.Manager, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.openLocked()
}

func (e *encrypted) openLocked() (*wireguard.Manager, error) {
	if e.closed {
		return nil, wireguard.ErrClosed
	}
	if e.manager == nil {
		manager, err := wireguard.Open(wireguard.Config{
			NetNS: e.config.NetNS, Dir: e.config.WireGuardDir, Mode: e.config.WireGuard, Port: e.config.WireGuardPort,
			Local: e.config.TunnelIP, Rotate: e.config.KeyRotation, Log: e.log,
		})
		if err != nil {
			return nil, err
		}
		e.manager = manager
	}
	if !e.attached && e.attachTo != nil {
		if err := e.attachTo(e.manager.Device()); err != nil {
			return nil, err
		}
		e.attached = true
	}
	return e.manager, nil
}

func (e *encrypted) attach(to func(ifindex int) error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.attachTo = to
	if e.manager == nil {
		return nil
	}
	_, err := e.openLocked()
	return err
}

// Offer implements tunnelmech.Encrypted.
func (e *encrypted) Offer() (tunnelmech.Offer, error) {
	manager, err := e.open()
	if err != nil {
		return tunnelmech.Offer{}, err
	}
	return tunnelmech.Offer(manager.Offer()), nil
}

// Join implements tunnelmech.Encrypted.
func (e *encrypted) Join(ctx context.Context, id string, peer tunnelmech.Peer) (tunnelmech.Path, error) {
	manager, err := e.open()
	if err != nil {
		return tunnelmech.Path{}, err
	}
	path, err := manager.Join(ctx, id, wireguard.Peer(peer))
	return tunnelmech.Path{Device: path.Device, Local: path.Local, Remote: path.Remote, Former: path.Former, MTU: path.MTU}, err
}

// Leave implements tunnelmech.Encrypted.
func (e *encrypted) Leave(id string) error {
	if manager := e.opened(); manager != nil {
		return manager.Leave(id)
	}
	return nil
}

func (e *encrypted) close(keep bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	if e.manager == nil {
		return nil
	}
	return e.manager.Close(keep)
}
