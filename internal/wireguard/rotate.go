// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/weft-project/weft/internal/selfexec"
)

// rotateRetry is how long a rotation that was not possible waits.
const rotateRetry = time.Minute

// restartLimit bounds the wait between tries to start a process again.
const restartLimit = 10 * time.Second

// Rotate makes a new key the current one. Two keys live at a time at most, so it
// is refused while connections still use the former.
func (m *Manager) Rotate() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rotate()
}

func (m *Manager) rotate() error {
	if m.closed {
		return ErrClosed
	}
	if len(m.generations) > 1 {
		return fmt.Errorf("rotate WireGuard key: the former one of %s is still in use", m.generations[0].name())
	}
	if err := m.next(); err != nil {
		return fmt.Errorf("rotate WireGuard key: %w", err)
	}
	m.watch(m.current())
	return nil
}

// run looks after age and use of the generations.
func (m *Manager) run() {
	ticker := time.NewTicker(m.timing.tick)
	defer ticker.Stop()
	for {
		select {
		case <-m.stop:
			return
		case <-ticker.C:
			m.mu.Lock()
			if !m.closed {
				m.sweep(time.Now())
			}
			m.mu.Unlock()
		}
	}
}

// sweep ends generations and peers that are not used any more, and rotates.
func (m *Manager) sweep(now time.Time) {
	if !m.graceEnd.IsZero() && now.Before(m.graceEnd) {
		return // connections of adopted generations are not known yet
	}
	for _, g := range slices.Clone(m.generations) {
		if g == m.current() || now.Sub(g.replaced) < m.timing.linger || g.used() {
			continue
		}
		if err := g.destroy(); err != nil {
			m.cfg.Log.Warn("cannot remove WireGuard interface", "iface", g.name(), "err", err)
			continue
		}
		m.generations = slices.DeleteFunc(m.generations, func(other *generation) bool { return other == g })
		m.cfg.Log.Info("WireGuard key has ended", "iface", g.name(), "public", g.public)
	}
	if len(m.generations) == 1 {
		m.graceEnd = time.Time{}
		m.forget(m.current())
	}
	m.checkKernel()
	if m.due(now) && !now.Before(m.retryAt) {
		m.retryAt = now.Add(rotateRetry)
		if err := m.rotate(); err != nil {
			m.cfg.Log.Warn("cannot rotate", "err", err)
		}
	}
}

// used tells whether a connection needs the generation.
func (g *generation) used() bool {
	for _, p := range g.peers {
		if len(p.ids) > 0 {
			return true
		}
	}
	return false
}

// forget removes the peers that no connection has claimed.
func (m *Manager) forget(g *generation) {
	var free []pair
	for _, p := range g.peers {
		p.kept = false
		if len(p.ids) == 0 {
			free = append(free, pair{g, p.key})
		}
	}
	m.free(free)
}

// due tells whether the current generation is too old, or not as configured
// because an earlier Manager has made it.
func (m *Manager) due(now time.Time) bool {
	if len(m.generations) > 1 {
		return false
	}
	g := m.current()
	return m.cfg.Rotate > 0 && now.Sub(g.born) >= m.cfg.Rotate ||
		g.port != m.cfg.Port && g.port != m.cfg.Port+1 ||
		m.cfg.Mode == Kernel && !g.kernel || m.cfg.Mode == Userspace && g.kernel
}

// watch starts a process that ends by itself again.
func (m *Manager) watch(g *generation) {
	if g.process == nil {
		return
	}
	p := g.process
	m.group.Go(func() {
		p.Wait()
		for pause := 100 * time.Millisecond; !m.revive(g, p); pause = min(2*pause, restartLimit) {
			select {
			case <-m.stop:
				return
			case <-time.After(pause):
			}
		}
	})
}

// revive starts the generation's process again, with the same key, port and
// peers, if p is still meant to be it; false asks for another try.
func (m *Manager) revive(g *generation, p *selfexec.Process) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || !slices.Contains(m.generations, g) {
		return true
	}
	if g.process == p {
		m.cfg.Log.Warn("WireGuard process has ended", "iface", g.name())
	}
	err := g.destroy()
	if err == nil {
		err = g.make()
	}
	if err != nil {
		m.cfg.Log.Warn("cannot start WireGuard process again", "iface", g.name(), "err", err)
		return false
	}
	m.watch(g)
	return true
}

// checkKernel makes interfaces again that somebody has removed.
func (m *Manager) checkKernel() {
	for _, g := range m.generations {
		if !g.kernel {
			continue
		}
		if g.control != nil {
			if _, err := g.control.state(); !errors.Is(err, os.ErrNotExist) {
				continue
			}
		}
		m.cfg.Log.Warn("WireGuard interface is gone", "iface", g.name())
		err := g.destroy()
		if err == nil {
			err = g.make()
		}
		if err != nil {
			m.cfg.Log.Warn("cannot make WireGuard interface again", "iface", g.name(), "err", err)
		}
	}
}
