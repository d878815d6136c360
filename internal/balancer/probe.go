// SPDX-License-Identifier: Apache-2.0

package balancer

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/internal/packet"
	"github.com/weft-project/weft/pkg/dataplane/lb"
)

// Errors of Probe, besides lb.ErrNotSeen: why a VIP cannot be reached.
var (
	// ErrNoFlow: no flow of the configuration leads packets of the VIP anywhere.
	ErrNoFlow = errors.New("no flow of the VIP that packets reach")
	// ErrNoTargets: none of its streams has a target.
	ErrNoTargets = errors.New("no stream of the VIP has a target")
	// ErrNotForwarded: the program decided otherwise, or the target's leg does
	// not work.
	ErrNotForwarded = errors.New("packets to the VIP are not forwarded")
)

// samples are packets of the flows of a configuration, by flow and VIP.
type samples struct {
	mu     sync.Mutex // guards the rest
	config *Config
	set    classify.Set
	packet map[sampleKey]sample
}

type sampleKey struct {
	flow int
	vip  netip.Prefix
}

type sample struct {
	packet classify.Packet
	err    error
}

// of returns a packet of a flow to the VIP.
func (s *samples) of(config *Config, flow int, vip netip.Prefix) (classify.Packet, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.config != config {
		s.config, s.packet = config, map[sampleKey]sample{}
		s.set = classify.Set{VIPs: config.VIPs}
		for _, f := range config.Flows {
			s.set.Rules = append(s.set.Rules, f.Rule)
		}
	}
	key := sampleKey{flow, vip}
	found, ok := s.packet[key]
	if !ok {
		found.packet, found.err = s.set.Sample(flow, vip)
		s.packet[key] = found
	}
	return found.packet, found.err
}

// probeHops is the TTL of probes: enough for the program, too little to get
// anywhere if they escaped.
const probeHops = 2

// Probe says whether traffic to a VIP is forwarded: a packet of one of its flows,
// sent into the external interface, is seen leaving to a target that works. nil: it
// is; else why not: ErrNoFlow, ErrNoTargets, ErrNotForwarded or lb.ErrNotSeen.
func (b *Balancer) Probe(vip netip.Prefix) error {
	config, snapshot := b.Config(), b.Snapshot()
	why := fmt.Errorf("%w: %s", ErrNoFlow, vip)
	rank := 0
	note := func(r int, err error) { // the last step that was reached says most
		if r > rank {
			rank, why = r, err
		}
	}
	for i, f := range config.Flows {
		if !slices.ContainsFunc(f.Rule.VIPs, vip.Overlaps) {
			continue
		}
		if len(snapshot.Stream(f.Stream).Targets) == 0 {
			note(2, fmt.Errorf("%w: %s", ErrNoTargets, vip))
			continue
		}
		p, err := b.samples.of(config, i, vip)
		if err != nil {
			note(1, fmt.Errorf("%w: %s: flow %q: %w", ErrNoFlow, vip, f.Rule.Name, err))
			continue
		}
		result, err := b.dp.Probe(probeFrame(p))
		switch {
		case err != nil:
			return fmt.Errorf("probe %s: %w", vip, err)
		case !result.Seen: // no other would be
			return fmt.Errorf("probe %s: %w", vip, result.Err())
		case !result.OK:
			note(3, fmt.Errorf("%w: %s: flow %q: %s", ErrNotForwarded, vip, f.Rule.Name, result.Reason))
			continue
		}
		err = legWorks(snapshot, result)
		if err == nil {
			return nil
		}
		note(4, fmt.Errorf("%w: %s: flow %q: %w", ErrNotForwarded, vip, f.Rule.Name, err))
	}
	return why
}

// legWorks says whether the leg that a probe would have left by takes packets and
// their answers.
func legWorks(snapshot Snapshot, result lb.ProbeResult) error {
	for _, t := range snapshot.Targets {
		if t.ID != result.Target {
			continue
		}
		for _, l := range t.Legs {
			switch {
			case !l.Active:
			case !l.Up:
				return fmt.Errorf("target %s: leg %s has no carrier", t.Name, l.Interface)
			case !l.Attached:
				return fmt.Errorf("target %s: leg %s takes no answers", t.Name, l.Interface)
			default:
				return nil
			}
		}
		return fmt.Errorf("target %s: no leg works", t.Name)
	}
	return fmt.Errorf("target %d has left", result.Target)
}

// probeFrame is a packet as a frame that the data plane addresses.
func probeFrame(p classify.Packet) []byte {
	ip := packet.IP{Src: p.Src, Dst: p.Dst, TTL: probeHops}
	// A source that is no neighbour: the bit says that nobody made it.
	return ip.Packet(packet.Ethernet{Src: packet.MAC{2}}, p.Protocol, p.Header)
}
