// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/tunnel"
)

// Manager is a node's encrypted underlay. Its methods may be called at any time
// by any goroutine.
type Manager struct {
	cfg    Config
	place  *place
	lock   *os.File
	device *tunnel.Device
	timing timing

	stop  chan struct{}
	group sync.WaitGroup

	mu          sync.Mutex
	closed      bool
	generations []*generation // the last is the current one
	ids         map[string]*membership
	graceEnd    time.Time // zero when nothing adopted waits for a Join
	retryAt     time.Time // of a rotation that was not possible
}

// timing holds the waits that tests shorten.
type timing struct {
	// tick is how often age and use of generations are looked at.
	tick time.Duration
	// linger is how long a replaced generation stays at least, for requests that
	// have told its key and are under way.
	linger time.Duration
	// settle is how long packets may come by a former pair at least: a request
	// may be repeated before its answer has reached the other node.
	settle time.Duration
	// handshake is how long a Join waits for a session before it moves a
	// connection to another pair.
	handshake time.Duration
}

var defaultTiming = timing{
	tick: 5 * time.Second, linger: time.Minute, settle: 10 * time.Second, handshake: 250 * time.Millisecond,
}

// Open adopts what an earlier Manager has left in Dir's private namespace, or
// makes it. After an error nothing has changed.
func Open(cfg Config) (*Manager, error) { return open(cfg, defaultTiming, innerAddress) }

func open(cfg Config, timing timing, hash func(wgtypes.Key) netip.Addr) (m *Manager, err error) {
	cfg, err = cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("wireguard: %w", err)
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("wireguard: %w", err)
	}
	m = &Manager{
		cfg: cfg, lock: lock, timing: timing, stop: make(chan struct{}), ids: map[string]*membership{},
		place: &place{directory: cfg.Dir, node: cfg.NetNS, hash: hash},
	}
	if err := m.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("wireguard: %w", err), lock.Close())
	}
	for _, g := range m.generations {
		m.watch(g)
	}
	m.group.Go(m.run)
	return m, nil
}

// open fills in the Manager, or undoes what it has made.
func (m *Manager) open() (err error) {
	private, made, err := openPrivate(m.cfg.Dir)
	if err != nil {
		return err
	}
	m.place.private = private
	adopted := 0
	defer func() {
		if err == nil {
			return
		}
		for i, g := range m.generations {
			if i < adopted {
				err = errors.Join(err, g.detach())
			} else {
				err = errors.Join(err, g.destroy())
			}
		}
		if made {
			err = errors.Join(err, removePrivate(m.cfg.Dir))
		}
	}()
	if err := m.adopt(); err != nil {
		return err
	}
	adopted = len(m.generations)
	if adopted == 0 {
		if err := m.next(); err != nil {
			return err
		}
	} else {
		m.graceEnd = time.Now().Add(m.cfg.Grace)
	}
	m.device, err = tunnel.Open(tunnel.Config{
		NetNS: m.cfg.NetNS, Underlay: private, Name: DeviceName, Alias: "weft:" + DeviceName,
	})
	return err
}

// adopt takes over the generations that still work and removes the others.
func (m *Manager) adopt() error {
	var links []nl.Link
	err := withHandle(m.place.private, func(h *nl.Handle) (err error) { links, err = h.Links(); return err })
	if err != nil {
		return err
	}
	for _, link := range links {
		number, err := strconv.Atoi(strings.TrimPrefix(link.Name, namePrefix))
		if err != nil || !strings.HasPrefix(link.Name, namePrefix) {
			continue
		}
		g := &generation{number: number, place: m.place, peers: map[wgtypes.Key]*peer{}}
		if err := g.adopt(link); err != nil {
			m.cfg.Log.Warn("cannot adopt WireGuard interface", "iface", link.Name, "err", err)
			if err := g.destroy(); err != nil {
				return err
			}
			continue
		}
		m.generations = append(m.generations, g)
	}
	// Numbers begin again, so age decides.
	slices.SortFunc(m.generations, func(a, b *generation) int {
		if c := a.born.Compare(b.born); c != 0 {
			return c
		}
		return a.number - b.number
	})
	return m.removeStaleSockets()
}

func (m *Manager) removeStaleSockets() error {
	sockets, err := filepath.Glob(filepath.Join(escape(m.cfg.Dir), namePrefix+"*.sock"))
	if err != nil {
		return err
	}
	for _, socket := range sockets {
		used := slices.ContainsFunc(m.generations, func(g *generation) bool { return !g.kernel && g.socket() == socket })
		if !used {
			if err := os.Remove(socket); err != nil {
				return err
			}
		}
	}
	return nil
}

// next makes the next generation, which knows all peers of the others.
func (m *Manager) next() error {
	mtu, err := m.deviceMTU()
	if err != nil {
		return err
	}
	key, err := wgtypes.GeneratePrivateKey()
	if err != nil {
		return err
	}
	g := &generation{
		number: 1, born: time.Now(), key: key, public: key.PublicKey(), mtu: mtu,
		port: m.cfg.Port, place: m.place, peers: map[wgtypes.Key]*peer{}, kernel: m.cfg.Mode != Userspace,
	}
	g.inner = m.place.hash(g.public)
	for _, old := range m.generations {
		g.number = old.number%maxGeneration + 1
		old.replaced = g.born
		if old.port == g.port {
			g.port++
		}
		for _, p := range old.peers {
			g.peers[p.key] = &peer{key: p.key, endpoint: p.endpoint, inner: p.inner, kept: true, ids: map[string]bool{}}
		}
	}
	err = g.make()
	if errors.Is(err, ErrNoWireGuard) && m.cfg.Mode == Auto {
		g.kernel = false
		err = g.make()
	}
	if err != nil {
		return err
	}
	m.generations = append(m.generations, g)
	m.cfg.Log.Info("WireGuard key is in force", "iface", g.name(), "kernel", g.kernel, "port", g.port, "public", g.public)
	return nil
}

func (m *Manager) current() *generation { return m.generations[len(m.generations)-1] }

// Offer returns what to tell the other node.
func (m *Manager) Offer() Offer {
	m.mu.Lock()
	defer m.mu.Unlock()
	g := m.current()
	return Offer{Port: g.port, PublicKey: g.public.String()}
}

// Device returns the index of the VXLAN device in the node's namespace.
func (m *Manager) Device() int { return m.device.Index() }

// Private returns the path of the namespace with the VXLAN device's UDP socket.
func (m *Manager) Private() string { return m.place.private }

// Close ends the Manager. With keep everything goes on, to be adopted by the next
// Open; else it is removed.
func (m *Manager) Close(keep bool) error {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return nil
	}
	m.closed = true
	m.mu.Unlock()
	close(m.stop)
	var problems []error
	if keep {
		for _, g := range m.generations {
			problems = append(problems, g.detach())
		}
		m.group.Wait()
		problems = append(problems, m.device.Close(true))
		return errors.Join(append(problems, m.lock.Close())...)
	}
	problems = append(problems, m.device.Close(false))
	for _, g := range m.generations {
		problems = append(problems, g.destroy())
	}
	m.group.Wait()
	problems = append(problems, removePrivate(m.cfg.Dir), os.Remove(m.lock.Name()), m.lock.Close())
	return errors.Join(problems...)
}
