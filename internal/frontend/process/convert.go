// SPDX-License-Identifier: Apache-2.0

package process

import (
	"fmt"
	"net/netip"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weft-project/weft/internal/frontend"
	frontendv1 "github.com/weft-project/weft/pkg/api/frontend/v1"
)

// ToStatus returns a status as it is told.
func ToStatus(s frontend.Status) *frontendv1.Status {
	m := &frontendv1.Status{
		Default4: texts(s.Default4), Default6: texts(s.Default6), Specific: s.Specific, Problem: s.Problem,
	}
	for _, g := range s.Gateways {
		m.Gateways = append(m.Gateways, toGateway(g))
	}
	for _, r := range s.Routes {
		m.Routes = append(m.Routes, &frontendv1.Route{Prefix: r.Prefix.String(), NextHops: texts(r.NextHops), Gateways: r.Gateways})
	}
	return m
}

func toGateway(g frontend.GatewayStatus) *frontendv1.Gateway {
	m := &frontendv1.Gateway{Name: g.Name, Address: g.Address.String(), Up: g.Up, Reason: g.Reason}
	if b := g.BGP; b != nil {
		m.Bgp = &frontendv1.BGP{
			State: b.State, Since: timeOf(b.Since), LastError: b.LastError, Flaps: b.Flaps, Announced: texts(b.Announced),
			Received: uint32(b.Received), Refused: uint32(b.Refused), Refusal: b.Refusal,
			UpdatesSent: b.UpdatesSent, UpdatesSeen: b.UpdatesSeen,
			HoldTime: durationpb.New(b.HoldTime), Keepalive: durationpb.New(b.Keepalive), GracefulRestart: b.GracefulRestart,
		}
	}
	if b := g.BFD; b != nil {
		m.Bfd = &frontendv1.BFD{
			State: b.State, RemoteState: b.RemoteState, Diagnostic: b.Diagnostic, RemoteDiagnostic: b.RemoteDiagnostic,
			Since: timeOf(b.Since), Flaps: b.Flaps, TxInterval: durationpb.New(b.TxInterval), DetectionTime: durationpb.New(b.DetectionTime),
			Sent: b.Sent, Received: b.Received, Discarded: b.Discarded, LastError: b.LastError,
		}
	}
	return m
}

// parser collects what cannot be understood.
type parser struct{ err error }

func (p *parser) addr(text string) netip.Addr {
	if text == "" {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(text)
	p.fail(err)
	return a
}

func (p *parser) addrs(list []string) (addrs []netip.Addr) {
	for _, text := range list {
		addrs = append(addrs, p.addr(text))
	}
	return addrs
}

func (p *parser) prefixes(list []string) (prefixes []netip.Prefix) {
	for _, text := range list {
		prefix, err := netip.ParsePrefix(text)
		p.fail(err)
		prefixes = append(prefixes, prefix)
	}
	return prefixes
}

func (p *parser) small(field string, value, largest uint32) uint32 {
	if value > largest {
		p.fail(fmt.Errorf("%s: %d is more than %d", field, value, largest))
	}
	return value
}

func (p *parser) fail(err error) {
	if p.err == nil {
		p.err = err
	}
}

func fromStatus(m *frontendv1.Status) (frontend.Status, error) {
	var p parser
	s := frontend.Status{
		Default4: p.addrs(m.GetDefault4()), Default6: p.addrs(m.GetDefault6()), Specific: m.GetSpecific(), Problem: m.GetProblem(),
	}
	for _, g := range m.GetGateways() {
		s.Gateways = append(s.Gateways, p.gateway(g))
	}
	for _, r := range m.GetRoutes() {
		route := frontend.Route{NextHops: p.addrs(r.GetNextHops()), Gateways: r.GetGateways()}
		if prefixes := p.prefixes([]string{r.GetPrefix()}); p.err == nil {
			route.Prefix = prefixes[0]
		}
		s.Routes = append(s.Routes, route)
	}
	return s, p.err
}

func (p *parser) gateway(m *frontendv1.Gateway) frontend.GatewayStatus {
	g := frontend.GatewayStatus{Name: m.GetName(), Address: p.addr(m.GetAddress()), Up: m.GetUp(), Reason: m.GetReason()}
	if b := m.GetBgp(); b != nil {
		g.BGP = &frontend.BGPStatus{
			State: b.GetState(), Since: b.GetSince().AsTime(), LastError: b.GetLastError(), Flaps: b.GetFlaps(),
			Announced: p.prefixes(b.GetAnnounced()), Received: int(b.GetReceived()), Refused: int(b.GetRefused()), Refusal: b.GetRefusal(),
			UpdatesSent: b.GetUpdatesSent(), UpdatesSeen: b.GetUpdatesSeen(),
			HoldTime: b.GetHoldTime().AsDuration(), Keepalive: b.GetKeepalive().AsDuration(), GracefulRestart: b.GetGracefulRestart(),
		}
		if b.GetSince() == nil {
			g.BGP.Since = time.Time{}
		}
	}
	if b := m.GetBfd(); b != nil {
		g.BFD = &frontend.BFDStatus{
			State: b.GetState(), RemoteState: b.GetRemoteState(), Diagnostic: b.GetDiagnostic(), RemoteDiagnostic: b.GetRemoteDiagnostic(),
			Since: b.GetSince().AsTime(), Flaps: b.GetFlaps(), TxInterval: b.GetTxInterval().AsDuration(), DetectionTime: b.GetDetectionTime().AsDuration(),
			Sent: b.GetSent(), Received: b.GetReceived(), Discarded: b.GetDiscarded(), LastError: b.GetLastError(),
		}
		if b.GetSince() == nil {
			g.BFD.Since = time.Time{}
		}
	}
	return g
}

func toConfig(c frontend.Config) *frontendv1.Config {
	m := &frontendv1.Config{
		Replica: c.Replica, Interface: c.Interface, Table: uint32(c.Table), Vips: texts(c.VIPs), Announce: texts(c.Announce),
		GracefulRestart: durationpb.New(c.GracefulRestart),
	}
	if c.RouterID.IsValid() {
		m.RouterId = c.RouterID.String()
	}
	for _, g := range c.Gateways {
		gateway := &frontendv1.GatewayConfig{Name: g.Name, Address: g.Address.String()}
		if b := g.BGP; b != nil {
			gateway.Bgp = &frontendv1.BGPConfig{
				LocalAsn: b.LocalASN, RemoteAsn: b.RemoteASN, HoldTime: durationpb.New(b.HoldTime),
				LocalPort: uint32(b.LocalPort), RemotePort: uint32(b.RemotePort), Password: b.Password,
				TtlSecurity: uint32(b.TTLSecurity), Multihop: uint32(b.Multihop), ExtendedNextHop: b.ExtendedNextHop, Strict: b.Strict,
			}
		}
		if b := g.BFD; b != nil {
			gateway.Bfd = &frontendv1.BFDConfig{
				MinTx: durationpb.New(b.MinTx), MinRx: durationpb.New(b.MinRx), Multiplier: uint32(b.Multiplier), Multihop: b.Multihop,
				Auth: string(b.Auth), AuthKeyId: uint32(b.AuthKeyID), AuthKey: b.AuthKey,
			}
		}
		m.Gateways = append(m.Gateways, gateway)
	}
	return m
}

func fromConfig(m *frontendv1.Config) (frontend.Config, error) {
	var p parser
	const byteMax, portMax = 1<<8 - 1, 1<<16 - 1
	c := frontend.Config{
		Replica: m.GetReplica(), Interface: m.GetInterface(), Table: int(m.GetTable()), RouterID: p.addr(m.GetRouterId()),
		VIPs: p.prefixes(m.GetVips()), Announce: p.prefixes(m.GetAnnounce()), GracefulRestart: m.GetGracefulRestart().AsDuration(),
	}
	for _, g := range m.GetGateways() {
		gateway := frontend.Gateway{Name: g.GetName(), Address: p.addr(g.GetAddress())}
		if b := g.GetBgp(); b != nil {
			gateway.BGP = &frontend.BGP{
				LocalASN: b.GetLocalAsn(), RemoteASN: b.GetRemoteAsn(), HoldTime: b.GetHoldTime().AsDuration(),
				LocalPort:  uint16(p.small("local_port", b.GetLocalPort(), portMax)),
				RemotePort: uint16(p.small("remote_port", b.GetRemotePort(), portMax)), Password: b.GetPassword(),
				TTLSecurity:     uint8(p.small("ttl_security", b.GetTtlSecurity(), byteMax)),
				Multihop:        uint8(p.small("multihop", b.GetMultihop(), byteMax)),
				ExtendedNextHop: b.GetExtendedNextHop(), Strict: b.GetStrict(),
			}
		}
		if b := g.GetBfd(); b != nil {
			gateway.BFD = &frontend.BFD{
				MinTx: b.GetMinTx().AsDuration(), MinRx: b.GetMinRx().AsDuration(),
				Multiplier: uint8(p.small("multiplier", b.GetMultiplier(), byteMax)), Multihop: b.GetMultihop(),
				Auth: frontend.AuthType(b.GetAuth()), AuthKeyID: uint8(p.small("auth_key_id", b.GetAuthKeyId(), byteMax)), AuthKey: b.GetAuthKey(),
			}
		}
		c.Gateways = append(c.Gateways, gateway)
	}
	return c, p.err
}

func texts[T fmt.Stringer](list []T) (out []string) {
	for _, x := range list {
		out = append(out, x.String())
	}
	return out
}

func timeOf(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
