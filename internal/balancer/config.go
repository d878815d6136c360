// SPDX-License-Identifier: Apache-2.0

package balancer

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/internal/maglev"
)

// DefaultMaxTargets bounds a stream that does not say otherwise.
const DefaultMaxTargets = 100

// MaxAffinity bounds Config.Affinity.
const MaxAffinity = 1 << 24

// Config is what a replica balances. It is a snapshot: SetConfig takes it as a
// whole, and it must not be changed afterwards.
type Config struct {
	VIPs     []netip.Prefix // accepted; a packet to anything else is not ours
	Flows    []Flow
	Streams  []Stream
	NATs     []classify.NAT
	Gateways []netip.Addr // where replies leave to, until SetGateways tells live ones
	MSSClamp bool         // lower the MSS option of TCP SYNs to what fits the MTUs
	Affinity int          // flows that stay with their target when tables change; 0: none
}

// Stream is a group of traffic that is balanced over the targets in it.
type Stream struct {
	Name       string
	TableSize  uint32 // slots of its Maglev table, a prime number; 0 = the replica's default
	MaxTargets int    // 0 = DefaultMaxTargets
}

// Flow is a classification rule and the stream that its packets belong to.
type Flow struct {
	Rule   classify.Rule // its Stream and Flow are the balancer's to set
	Stream string        // name of a stream of the same Config
}

// Validate returns everything that is wrong with the configuration, joined.
func (c *Config) Validate() error {
	var problems []error
	streams := map[string]bool{}
	for i, s := range c.Streams {
		switch {
		case s.Name == "":
			problems = append(problems, fmt.Errorf("streams[%d].name: empty", i))
		case streams[s.Name]:
			problems = append(problems, fmt.Errorf("streams[%d].name: %q is taken by another stream", i, s.Name))
		}
		streams[s.Name] = true
		if s.TableSize != 0 && !maglev.IsPrime(s.TableSize) {
			problems = append(problems, fmt.Errorf("stream %q: table size %d is not a prime number", s.Name, s.TableSize))
		}
		if s.MaxTargets < 0 || s.MaxTargets > maglev.MaxBackends {
			problems = append(problems, fmt.Errorf("stream %q: max-targets %d is not within 1 to %d", s.Name, s.MaxTargets, maglev.MaxBackends))
		}
	}
	flows := map[string]bool{}
	for i, f := range c.Flows {
		switch {
		case f.Rule.Name == "":
			problems = append(problems, fmt.Errorf("flows[%d].name: empty", i))
		case flows[f.Rule.Name]:
			problems = append(problems, fmt.Errorf("flows[%d].name: %q is taken by another flow", i, f.Rule.Name))
		}
		flows[f.Rule.Name] = true
		if !streams[f.Stream] {
			problems = append(problems, fmt.Errorf("flow %q: unknown stream %q", f.Rule.Name, f.Stream))
		}
	}
	for i, vip := range c.VIPs {
		if !vip.IsValid() || vip != vip.Masked() {
			problems = append(problems, fmt.Errorf("vips[%d]: %v is not a network address", i, vip))
		}
	}
	for i, nat := range c.NATs {
		if err := nat.Validate(); err != nil {
			problems = append(problems, fmt.Errorf("nats[%d]: %w", i, err))
		}
	}
	if c.Affinity < 0 || c.Affinity > MaxAffinity {
		problems = append(problems, fmt.Errorf("affinity: %d flows are not within 0 to %d", c.Affinity, MaxAffinity))
	}
	return errors.Join(problems...)
}

// StreamVIPs returns the VIPs of the flows that lead to one of the streams,
// sorted and each once.
func (c *Config) StreamVIPs(streams ...string) []netip.Prefix {
	var vips []netip.Prefix
	for _, flow := range c.Flows {
		if slices.Contains(streams, flow.Stream) {
			vips = append(vips, flow.Rule.VIPs...)
		}
	}
	slices.SortFunc(vips, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	return slices.Compact(vips)
}

// Undefined returns the names that are not streams of the configuration.
func (c *Config) Undefined(streams []string) []string {
	return slices.DeleteFunc(slices.Clone(streams), func(name string) bool {
		return slices.ContainsFunc(c.Streams, func(s Stream) bool { return s.Name == name })
	})
}
