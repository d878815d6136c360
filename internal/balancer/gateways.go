// SPDX-License-Identifier: Apache-2.0

package balancer

import (
	"fmt"
	"slices"

	"github.com/weft-project/weft/pkg/dataplane/lb"
)

// SetGateways tells the live gateways. From then on those of configurations count
// no more.
func (b *Balancer) SetGateways(g lb.Gateways) error {
	b.gatewayMu.Lock()
	defer b.gatewayMu.Unlock()
	b.live = true
	return b.writeGateways(g)
}

// configureGateways writes the gateways of a configuration when they are others
// than before: those that a predecessor has left stay until something is known.
func (b *Balancer) configureGateways(before, config *Config) error {
	b.gatewayMu.Lock()
	defer b.gatewayMu.Unlock()
	if b.live || slices.Equal(before.Gateways, config.Gateways) {
		return nil
	}
	var g lb.Gateways
	for _, a := range config.Gateways {
		if a.Is4() {
			g.Default4 = append(g.Default4, a)
		} else {
			g.Default6 = append(g.Default6, a)
		}
	}
	return b.writeGateways(g)
}

// writeGateways writes them and tells who follows the state. The caller holds
// gatewayMu.
func (b *Balancer) writeGateways(g lb.Gateways) error {
	err := b.dp.SetGateways(g)
	b.mu.Lock()
	b.notify()
	b.mu.Unlock()
	if err != nil {
		return fmt.Errorf("write gateways: %w", err)
	}
	return nil
}
