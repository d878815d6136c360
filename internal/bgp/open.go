// SPDX-License-Identifier: Apache-2.0

package bgp

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

const (
	flagRestarting = 0x8  // of the graceful restart capability
	flagForwarding = 0x80 // of a family in it
)

// target is what a session is to be.
type target struct {
	Peer
	routerID netip.Addr
	announce []netip.Prefix // sorted
	graceful time.Duration
	restart  restart
}

// sameSession says that no reset is needed to go from one to the other.
func (t target) sameSession(u target) bool {
	return t.Peer.sameSession(u.Peer) && t.routerID == u.routerID
}

// openMessage is the OPEN that we send.
func (t target) openMessage(now time.Time) (*bgp.BGPMessage, error) {
	v4, v6 := t.families()
	capabilities := []bgp.ParameterCapabilityInterface{bgp.NewCapRouteRefresh()}
	var tuples []*bgp.CapGracefulRestartTuple
	if v4 {
		capabilities = append(capabilities, bgp.NewCapMultiProtocol(bgp.RF_IPv4_UC))
		tuples = append(tuples, bgp.NewCapGracefulRestartTuple(bgp.RF_IPv4_UC, true))
	}
	if v6 {
		capabilities = append(capabilities, bgp.NewCapMultiProtocol(bgp.RF_IPv6_UC))
		tuples = append(tuples, bgp.NewCapGracefulRestartTuple(bgp.RF_IPv6_UC, true))
	}
	if t.ExtendedNextHop {
		tuple := bgp.NewCapExtendedNexthopTuple(bgp.RF_IPv4_UC, bgp.AFI_IP6)
		capabilities = append(capabilities, bgp.NewCapExtendedNexthop([]*bgp.CapExtendedNexthopTuple{tuple}))
	}
	capabilities = append(capabilities, bgp.NewCapFourOctetASNumber(t.LocalASN))
	if t.graceful > 0 {
		// Forwarding goes on: the data path does not depend on this process.
		restarting := now.Before(t.restart.until)
		capabilities = append(capabilities, bgp.NewCapGracefulRestart(restarting, false, uint16(t.graceful/time.Second), tuples))
	}
	short := uint16(bgp.AS_TRANS)
	if t.LocalASN <= 65535 {
		short = uint16(t.LocalASN)
	}
	return bgp.NewBGPOpenMessage(short, uint16(t.HoldTime/time.Second), t.routerID,
		[]bgp.OptionParameterInterface{bgp.NewOptionParameterCapability(capabilities)})
}

// remoteOpen is what the gateway's OPEN says.
type remoteOpen struct {
	asn             uint32
	id              netip.Addr
	hold            time.Duration
	v4, v6          bool
	fourByte        bool
	refresh         bool
	extendedNextHop bool
	graceful        bool // it has the capability
	restartTime     time.Duration
	// keeps are the families whose routes it asks us to keep, forwards those that
	// it has gone on to forward while it was away.
	keeps, forwards [2]bool
}

// family indexes what is per address family.
func family(v6 bool) int {
	if v6 {
		return 1
	}
	return 0
}

func readOpen(open *bgp.BGPOpen) remoteOpen {
	remote := remoteOpen{asn: uint32(open.MyAS), id: open.ID, hold: time.Duration(open.HoldTime) * time.Second}
	multiprotocol := false
	for _, parameter := range open.OptParams {
		parameter, ok := parameter.(*bgp.OptionParameterCapability)
		if !ok {
			continue
		}
		for _, capability := range parameter.Capability {
			switch c := capability.(type) {
			case *bgp.CapMultiProtocol:
				multiprotocol = true
				remote.v4 = remote.v4 || c.CapValue == bgp.RF_IPv4_UC
				remote.v6 = remote.v6 || c.CapValue == bgp.RF_IPv6_UC
			case *bgp.CapFourOctetASNumber:
				remote.fourByte, remote.asn = true, c.CapValue
			case *bgp.CapRouteRefresh:
				remote.refresh = true
			case *bgp.CapExtendedNexthop:
				for _, tuple := range c.Tuples {
					if tuple.NLRIAFI == bgp.AFI_IP && tuple.NLRISAFI == bgp.SAFI_UNICAST && tuple.NexthopAFI == bgp.AFI_IP6 {
						remote.extendedNextHop = true
					}
				}
			case *bgp.CapGracefulRestart:
				remote.readGraceful(c)
			}
		}
	}
	if !multiprotocol {
		remote.v4 = true // RFC 4760, 8
	}
	return remote
}

func (r *remoteOpen) readGraceful(c *bgp.CapGracefulRestart) {
	r.graceful, r.restartTime = true, time.Duration(c.Time)*time.Second
	for _, tuple := range c.Tuples {
		if tuple.SAFI != bgp.SAFI_UNICAST || tuple.AFI != bgp.AFI_IP && tuple.AFI != bgp.AFI_IP6 {
			continue
		}
		i := family(tuple.AFI == bgp.AFI_IP6)
		r.keeps[i], r.forwards[i] = true, tuple.Flags&flagForwarding != 0
	}
}

// refuse returns the notification that answers an OPEN that can not be accepted,
// and the reason; nil = it can (RFC 4271, 6.2).
func (t target) refuse(version uint8, r remoteOpen) (*bgp.BGPMessage, string) {
	refusal := func(subcode uint8, data []byte) *bgp.BGPMessage {
		return bgp.NewBGPNotificationMessage(bgp.BGP_ERROR_OPEN_MESSAGE_ERROR, subcode, data)
	}
	v4, v6 := t.families()
	switch {
	case version != 4:
		return refusal(bgp.BGP_ERROR_SUB_UNSUPPORTED_VERSION_NUMBER, binary.BigEndian.AppendUint16(nil, 4)), sprintf("the gateway speaks BGP version %d, not 4", version)
	case r.asn != t.RemoteASN:
		return refusal(bgp.BGP_ERROR_SUB_BAD_PEER_AS, nil), sprintf("the gateway is in AS %d, not %d as configured", r.asn, t.RemoteASN)
	case r.hold == time.Second || r.hold == 2*time.Second:
		return refusal(bgp.BGP_ERROR_SUB_UNACCEPTABLE_HOLD_TIME, nil), sprintf("the gateway wants a hold time of %v, less than 3 s", r.hold)
	case !r.id.IsValid() || r.id.IsUnspecified():
		return refusal(bgp.BGP_ERROR_SUB_BAD_BGP_IDENTIFIER, nil), "the gateway's router id is 0.0.0.0"
	case r.id == t.routerID && t.internal():
		return refusal(bgp.BGP_ERROR_SUB_BAD_BGP_IDENTIFIER, nil), sprintf("the gateway has our router id %v", r.id)
	case (!v4 || !r.v4) && (!v6 || !r.v6):
		return refusal(bgp.BGP_ERROR_SUB_UNSUPPORTED_CAPABILITY, nil), "the gateway and we have no address family in common"
	}
	return nil, ""
}

// dominates says that our connection to the gateway outlives the gateway's to us
// when there are both (RFC 4271, 6.8; RFC 6286, 2.3).
func (t target) dominates(r remoteOpen) bool {
	if t.routerID != r.id {
		return r.id.Less(t.routerID)
	}
	return t.LocalASN > r.asn
}
