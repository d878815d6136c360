// SPDX-License-Identifier: Apache-2.0

package weft

import (
	"encoding/hex"
	"fmt"
	"net"
	"strings"

	balancerv1 "github.com/weft-project/weft/pkg/api/balancer/v1"
)

// traceView is a trace as it is printed.
type traceView struct {
	Replica   replicaView    `json:"replica"`
	Decisions []decisionView `json:"decisions"`
}

type replicaView struct {
	Name      string `json:"name"`
	Trench    string `json:"trench"`
	Conduit   string `json:"conduit"`
	NetNS     string `json:"netns,omitempty"`
	Interface string `json:"interface"`
	VLAN      uint32 `json:"vlan,omitempty"`
	Mode      string `json:"mode"`
	MAC       string `json:"mac,omitempty"`
}

type decisionView struct {
	Frame             int              `json:"frame,omitempty"` // number in the capture
	Packet            packetView       `json:"packet"`
	VIP               string           `json:"vip,omitempty"`
	Mismatches        []mismatchView   `json:"mismatches,omitempty"`
	MismatchesLeftOut uint32           `json:"mismatches-left-out,omitempty"`
	Flow              *flowView        `json:"flow,omitempty"`
	Stream            string           `json:"stream,omitempty"`
	Slot              *slotView        `json:"slot,omitempty"`
	Target            *targetView      `json:"target,omitempty"`
	Translation       *translationView `json:"translation,omitempty"`
	Reason            string           `json:"reason"`
	Action            string           `json:"action"`
	Meaning           string           `json:"meaning"`
	Advice            string           `json:"advice"`
	Rewritten         *packetView      `json:"rewritten,omitempty"`
	RewrittenFrame    string           `json:"rewritten-frame,omitempty"` // hexadecimal
	Notes             []string         `json:"notes,omitempty"`
	Disagreements     []string         `json:"disagreements,omitempty"`
}

type packetView struct {
	SourceMAC       string   `json:"source-mac"`
	DestinationMAC  string   `json:"destination-mac"`
	VLANs           []uint32 `json:"vlans,omitempty"`
	Network         string   `json:"network"`
	Source          string   `json:"source,omitempty"`
	Destination     string   `json:"destination,omitempty"`
	Protocol        string   `json:"protocol,omitempty"`
	SourcePort      uint32   `json:"source-port,omitempty"`
	DestinationPort uint32   `json:"destination-port,omitempty"`
	TTL             uint32   `json:"ttl,omitempty"`
	Length          uint32   `json:"length"`
	Details         string   `json:"details,omitempty"`
}

type flowView struct {
	Name     string `json:"name"`
	Priority int32  `json:"priority"`
}

type mismatchView struct {
	Flow     string `json:"flow"`
	Priority int32  `json:"priority"`
	Stream   string `json:"stream"`
	Field    string `json:"field"`
	Reason   string `json:"reason"`
}

type slotView struct {
	Number uint32 `json:"number"`
	Size   uint32 `json:"size"`
}

type targetView struct {
	Name      string `json:"name"`
	Interface string `json:"interface,omitempty"`
	MAC       string `json:"mac,omitempty"`
}

type translationView struct {
	From uint32 `json:"from"`
	To   uint32 `json:"to"`
}

func newReplicaView(r *balancerv1.Replica) replicaView {
	return replicaView{
		Name: r.GetName(), Trench: r.GetTrench(), Conduit: r.GetConduit(), NetNS: r.GetNetns(),
		Interface: r.GetInterface(), VLAN: r.GetVlan(), Mode: r.GetMode(), MAC: net.HardwareAddr(r.GetMac()).String(),
	}
}

// add appends what became of a packet.
func (v *traceView) add(d *balancerv1.Decision, c captured) {
	out := decisionView{
		Frame: c.number, Packet: newPacketView(d.GetPacket()), VIP: d.GetVip(), MismatchesLeftOut: d.GetMismatchesLeftOut(),
		Stream: d.GetStream(), Reason: d.GetReason(), Action: actionName(d.GetAction()),
		Meaning: d.GetMeaning(), Advice: d.GetAdvice(), Notes: d.GetNotes(), Disagreements: d.GetDisagreements(),
		RewrittenFrame: hex.EncodeToString(d.GetRewrittenFrame()),
	}
	if c.cut {
		out.Notes = append(out.Notes, "The capture has only a part of this packet (use tcpdump -s 0).")
	}
	for _, m := range d.GetMismatches() {
		out.Mismatches = append(out.Mismatches, mismatchView{
			Flow: m.GetFlow(), Priority: m.GetPriority(), Stream: m.GetStream(), Field: m.GetField(), Reason: m.GetReason(),
		})
	}
	if f := d.GetFlow(); f != nil {
		out.Flow = &flowView{f.GetName(), f.GetPriority()}
	}
	if s := d.GetSlot(); s != nil {
		out.Slot = &slotView{s.GetNumber(), s.GetSize()}
	}
	if t := d.GetTarget(); t != nil {
		out.Target = &targetView{t.GetName(), t.GetInterface(), t.GetMac()}
	}
	if t := d.GetTranslation(); t != nil {
		out.Translation = &translationView{t.GetFrom(), t.GetTo()}
	}
	if p := d.GetRewritten(); p != nil {
		rewritten := newPacketView(p)
		out.Rewritten = &rewritten
	}
	v.Decisions = append(v.Decisions, out)
}

func newPacketView(p *balancerv1.Packet) packetView {
	return packetView{
		SourceMAC: p.GetSourceMac(), DestinationMAC: p.GetDestinationMac(), VLANs: p.GetVlans(), Network: p.GetNetwork(),
		Source: p.GetSource(), Destination: p.GetDestination(), Protocol: p.GetProtocol(),
		SourcePort: p.GetSourcePort(), DestinationPort: p.GetDestinationPort(),
		TTL: p.GetTtl(), Length: p.GetLength(), Details: p.GetDetails(),
	}
}

// actionName is the action as output spells it: "slow-path".
func actionName(a balancerv1.Decision_Action) string {
	return strings.ReplaceAll(strings.ToLower(a.String()), "_", "-")
}

// String is the packet on one line.
func (p packetView) String() string {
	var b strings.Builder
	for _, vlan := range p.VLANs {
		fmt.Fprintf(&b, "VLAN %d, ", vlan)
	}
	b.WriteString(p.Network)
	if p.Protocol != "" {
		b.WriteString(" " + p.Protocol)
	}
	if p.Source != "" {
		fmt.Fprintf(&b, " %s > %s", endpoint(p.Source, p.SourcePort), endpoint(p.Destination, p.DestinationPort))
	}
	if p.Details != "" {
		b.WriteString(", " + p.Details)
	}
	if p.TTL > 0 {
		fmt.Fprintf(&b, ", TTL %d", p.TTL)
	}
	fmt.Fprintf(&b, ", %d bytes", p.Length)
	return b.String()
}

// endpoint is an address with its port, if it has one.
func endpoint(address string, port uint32) string {
	switch {
	case port == 0:
		return address
	case strings.Contains(address, ":"):
		return fmt.Sprintf("[%s]:%d", address, port)
	}
	return fmt.Sprintf("%s:%d", address, port)
}
