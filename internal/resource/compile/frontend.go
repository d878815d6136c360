// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-project/weft/internal/frontend"
	"github.com/weft-project/weft/internal/resource"
	"github.com/weft-project/weft/pkg/apis/v1alpha1"
)

// SecretReader returns the value of a key of a Secret.
type SecretReader func(source, key string) ([]byte, error)

// Frontend is what the frontend of one replica is to do.
type Frontend struct {
	Attractor string
	Interface v1alpha1.InterfaceSpec
	// Config announces nothing: that is decided while it runs.
	Config frontend.Config
	VIPs   []VIP // sorted by prefix
	// Withheld are gateways that Config lacks, with the reason: a session that is
	// to have a password never runs without.
	Withheld map[string]string
	// Secrets says that some gateway has a key, which may change.
	Secrets bool
}

// VIP is a VIP with its name.
type VIP struct {
	Name   string
	Prefix netip.Prefix
}

// FrontendOf returns what the frontend of a replica of a conduit is to do. A
// conduit without an attractor has none: resource.ErrNotFound.
func FrontendOf(s *resource.Snapshot, trench, conduit, replica string, secret SecretReader) (*Frontend, error) {
	a := s.Attractor(trench, conduit)
	if a == nil {
		return nil, fmt.Errorf("attractor of conduit %q of trench %q: %w", conduit, trench, resource.ErrNotFound)
	}
	c := frontendCompiler{secret: secret, out: Frontend{
		Attractor: a.Metadata.Name, Interface: a.Spec.Interface, Withheld: map[string]string{},
		Config: frontend.Config{
			Replica: replica, Interface: a.Spec.Interface.Name, Table: Table(replica),
			GracefulRestart: frontend.DefaultGracefulRestart,
		},
	}}
	if err := c.attractor(s, a); err != nil {
		return nil, fmt.Errorf("attractor %q: %w", a.Metadata.Name, err)
	}
	return &c.out, nil
}

// Table returns the number of a frontend's routing table, which no table that
// people number by hand has: replicas may share a namespace.
func Table(replica string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(replica)) // never fails
	return int(h.Sum32()&0x3fffffff | 0x40000000)
}

type frontendCompiler struct {
	secret SecretReader
	out    Frontend
}

func (c *frontendCompiler) attractor(s *resource.Snapshot, a *v1alpha1.Attractor) error {
	var err error
	if a.Spec.GracefulRestart != "" {
		if c.out.Config.GracefulRestart, err = time.ParseDuration(a.Spec.GracefulRestart); err != nil {
			return fmt.Errorf("graceful-restart: %w", err)
		}
	}
	if a.Spec.RouterID != "" {
		if c.out.Config.RouterID, err = netip.ParseAddr(a.Spec.RouterID); err != nil {
			return fmt.Errorf("router-id: %w", err)
		}
	}
	for _, name := range a.Spec.Vips {
		o, ok := s.Get(resource.Key{Kind: v1alpha1.KindVip, Namespace: a.Metadata.Namespace, Name: name})
		if !ok {
			return fmt.Errorf("vip %q: %w", name, resource.ErrNotFound)
		}
		p, err := resource.ParsePrefix(o.(*v1alpha1.Vip).Spec.Address)
		if err != nil {
			return fmt.Errorf("vip %q: %w", name, err)
		}
		c.out.VIPs = append(c.out.VIPs, VIP{name, p})
		c.out.Config.VIPs = append(c.out.Config.VIPs, p)
	}
	slices.SortFunc(c.out.VIPs, func(a, b VIP) int { return cmp.Or(a.Prefix.Compare(b.Prefix), cmp.Compare(a.Name, b.Name)) })
	slices.SortFunc(c.out.Config.VIPs, netip.Prefix.Compare)
	c.out.Config.VIPs = slices.Compact(c.out.Config.VIPs)
	for _, name := range a.Spec.Gateways {
		o, ok := s.Get(resource.Key{Kind: v1alpha1.KindGateway, Namespace: a.Metadata.Namespace, Name: name})
		if !ok {
			return fmt.Errorf("gateway %q: %w", name, resource.ErrNotFound)
		}
		if err := c.gateway(name, &o.(*v1alpha1.Gateway).Spec); err != nil {
			return fmt.Errorf("gateway %q: %w", name, err)
		}
	}
	slices.SortFunc(c.out.Config.Gateways, func(a, b frontend.Gateway) int { return cmp.Compare(a.Name, b.Name) })
	return nil
}

func (c *frontendCompiler) gateway(name string, spec *v1alpha1.GatewaySpec) error {
	address, err := netip.ParseAddr(spec.Address)
	if err != nil {
		return err
	}
	g := frontend.Gateway{Name: name, Address: address}
	watch := (*v1alpha1.BFD)(nil)
	switch {
	case spec.BGP != nil:
		watch = spec.BGP.BFD
		if g.BGP, err = c.bgp(name, spec.BGP); err != nil {
			return err
		}
	case spec.Static != nil:
		watch = spec.Static.BFD
	}
	if watch != nil && watch.Switch != nil && *watch.Switch {
		if g.BFD, err = c.bfd(name, watch); err != nil {
			return err
		}
	}
	if c.out.Withheld[name] == "" {
		c.out.Config.Gateways = append(c.out.Config.Gateways, g)
	}
	return nil
}

func (c *frontendCompiler) bgp(name string, spec *v1alpha1.BGP) (*frontend.BGP, error) {
	hold, err := time.ParseDuration(spec.HoldTime)
	if err != nil {
		return nil, fmt.Errorf("bgp.hold-time: %w", err)
	}
	bgp := &frontend.BGP{
		LocalASN: *spec.LocalASN, RemoteASN: *spec.RemoteASN, HoldTime: hold,
		LocalPort: *spec.LocalPort, RemotePort: *spec.RemotePort,
		ExtendedNextHop: spec.ExtendedNextHop, Strict: spec.BFD != nil && spec.BFD.Strict,
	}
	if spec.TTLSecurity != nil {
		bgp.TTLSecurity = *spec.TTLSecurity
	}
	if spec.Multihop != nil {
		bgp.Multihop = *spec.Multihop
	}
	if spec.Auth != nil {
		bgp.Password = string(c.key(name, "bgp.auth", spec.Auth.KeySource, spec.Auth.KeyName, maxPassword))
	}
	return bgp, nil
}

// The longest keys: TCP_MD5SIG_MAXKEYLEN, and RFC 5880, 4.4.
const (
	maxPassword = 80
	maxSHA1Key  = 20
)

func (c *frontendCompiler) bfd(name string, spec *v1alpha1.BFD) (*frontend.BFD, error) {
	b := &frontend.BFD{Multiplier: uint8(*spec.Multiplier), Multihop: spec.Multihop}
	var err error
	if b.MinTx, err = time.ParseDuration(spec.MinTx); err != nil {
		return nil, fmt.Errorf("bfd.min-tx: %w", err)
	}
	if b.MinRx, err = time.ParseDuration(spec.MinRx); err != nil {
		return nil, fmt.Errorf("bfd.min-rx: %w", err)
	}
	if a := spec.Auth; a != nil {
		b.Auth, b.AuthKeyID = frontend.AuthType(a.Type), uint8(*a.KeyID)
		b.AuthKey = c.key(name, "bfd.auth", a.KeySource, a.KeyName, maxSHA1Key)
	}
	return b, nil
}

// key returns a key, or withholds the gateway.
func (c *frontendCompiler) key(gateway, field, source, name string, longest int) []byte {
	c.out.Secrets = true
	value, err := c.secret(source, name)
	switch {
	case err != nil:
		c.out.Withheld[gateway] = fmt.Sprintf("%s: key %q of secret %q: %v", field, name, source, err)
	case len(value) == 0:
		c.out.Withheld[gateway] = fmt.Sprintf("%s: key %q of secret %q is empty", field, name, source)
	case len(value) > longest:
		c.out.Withheld[gateway] = fmt.Sprintf("%s: key %q of secret %q has %d bytes, at most %d are possible", field, name, source, len(value), longest)
	}
	return value
}
