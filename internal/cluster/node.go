// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/nl"
)

// Names of a node's components.
const (
	Registry  = "registry"
	Manager   = "nsmgr"
	Forwarder = "forwarder"
	Agent     = "agent"
	Up        = "up" // all in one process
)

// wireguardDir is what `weft up` calls it, too.
const wireguardDir = "wireguard"

// Ports on the underlay.
const registryPort, managerPort = 5000, 5001

// metricsPort is the first port of metrics on a node's loopback interface.
const metricsPort = 9100

// Node is one machine of the cluster.
type Node struct {
	Name       string // node-<number>
	Number     byte
	NetNS      string // path of its namespace
	IPv4, IPv6 netip.Addr
	Dir        string // of its sockets
	StateDir   string // of what the components keep in files
	BPF        string // mount point of its BPF file system
	// Processes by component. A component that does not run on the node, or
	// runs within another process, has none.
	Processes map[string]*Process

	cluster *Cluster
	added   int // components, ever
}

// makeNode makes the namespace, the underlay's end and the directories, and adds
// the components.
func (c *Cluster) makeNode(number byte) (*Node, error) {
	n := &Node{
		Name: fmt.Sprintf("node-%d", number), Number: number, cluster: c,
		IPv4: nodeIPv4(number), IPv6: netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 2: 0x0d, 3: 0xb8, 15: number}),

		Processes: map[string]*Process{},
	}
	var err error
	if n.NetNS, err = c.Add(n.Name); err != nil {
		return nil, err
	}
	if err := c.plug(n); err != nil {
		return nil, err
	}
	n.Dir = filepath.Join(c.Dir, fmt.Sprintf("n%d", number))
	n.StateDir, n.BPF = filepath.Join(n.Dir, "state"), filepath.Join(n.Dir, "bpf")
	for _, dir := range []string{n.StateDir, n.BPF} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	if err := n.MountBPF(); err != nil {
		return nil, err
	}
	c.onClose(n.UnmountBPF)
	if size := c.options.StateSize; size > 0 {
		if err := unix.Mount("tmpfs", n.StateDir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
			return nil, fmt.Errorf("mount state directory of %s: %w", n.Name, err)
		}
		c.onClose(func() error { return unix.Unmount(n.StateDir, unix.MNT_DETACH) })
	}
	return n, n.addComponents()
}

// nodeIPv4 is of a prefix for documentation (RFC 5737), nobody's, as the IPv6
// addresses are (RFC 3849).
func nodeIPv4(number byte) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, number}) }

// MountBPF mounts the node's own BPF file system.
func (n *Node) MountBPF() error {
	if err := unix.Mount("bpf", n.BPF, "bpf", 0, ""); err != nil {
		return fmt.Errorf("mount BPF file system of %s: %w", n.Name, err)
	}
	return nil
}

// UnmountBPF takes it away, with all that is pinned there. A component may have
// mounted one of its own.
func (n *Node) UnmountBPF() error {
	for {
		err := unix.Unmount(n.BPF, unix.MNT_DETACH)
		if errors.Is(err, unix.EINVAL) { // none is left
			return nil
		}
		if err != nil {
			return fmt.Errorf("unmount BPF file system of %s: %w", n.Name, err)
		}
	}
}

// PinDir is where the forwarder pins.
func (n *Node) PinDir() string { return filepath.Join(n.BPF, "weft") }

// WireGuardDir is where the forwarder has WireGuard's control sockets.
func (n *Node) WireGuardDir() string { return filepath.Join(n.Dir, wireguardDir) }

// Socket returns the path of a component's socket: nsmgr, forwarder, agent,
// admin, or the name of a replica.
func (n *Node) Socket(name string) string { return filepath.Join(n.Dir, name+".sock") }

// FrontendSocket returns the path of the control socket of a replica's frontend.
func (n *Node) FrontendSocket(replica string) string { return n.Socket(replica + "-front") }

// tcp is a URL on the underlay.
func (n *Node) tcp(port int) string { return fmt.Sprintf("tcp://%s:%d", n.IPv4, port) }

func (n *Node) url(name string) string { return "unix://" + n.Socket(name) }

func (n *Node) addComponents() error {
	if n.cluster.options.Together {
		return n.addUp()
	}
	registry := n.cluster.registry()
	level := n.cluster.options.LogLevel
	if n.Number == 1 {
		n.add(Registry, n.Socket(Registry), nil, "registry", "--listen-on", n.url(Registry), "--listen-on", registry, "--log-level", level)
	}
	n.add(Manager, n.Socket(Manager), nil, "nsmgr", "--name", "nsmgr-"+n.Name, "--log-level", level,
		"--listen-on", n.url(Manager), "--listen-on", n.tcp(managerPort), "--registry", registry)
	n.add(Forwarder, n.Socket(Forwarder), n.ForwarderEnvironment(), n.ForwarderCommand()...)
	n.add(Agent, n.Socket("admin"), []string{"NSM_CONNECT_TO=" + n.url(Manager)},
		"weft-agent", "--node", n.Name, "--socket", n.Socket(Agent), "--admin-socket", n.Socket("admin"),
		"--state-dir", filepath.Join(n.StateDir, "agent"))
	return nil
}

// ForwarderCommand is the command line of the node's forwarder.
func (n *Node) ForwarderCommand() []string {
	args := []string{"weft-forwarder", "--pass-socket=false", "--pin-dir", n.PinDir(), "--wireguard-dir", n.WireGuardDir(),
		"--admin-socket", n.Socket("forwarder-admin")}
	if onStop := n.cluster.options.OnStop; onStop != "" {
		args = append(args, "--on-stop", onStop)
	}
	if rotation := n.cluster.options.KeyRotation; rotation != 0 {
		args = append(args, "--key-rotation", rotation.String())
	}
	return args
}

// ForwarderEnvironment is its environment, beside this process's own.
func (n *Node) ForwarderEnvironment() []string {
	return []string{"NSM_NAME=forwarder-" + n.Name, "NSM_CONNECT_TO=" + n.url(Manager), "NSM_LISTEN_ON=" + n.url(Forwarder),
		"NSM_TUNNEL_IP=" + n.IPv4.String()}
}

func (n *Node) add(component, socket string, env []string, args ...string) {
	address := ""
	n.added++
	if n.cluster.options.Metrics {
		address = fmt.Sprintf("127.0.0.1:%d", metricsPort+n.added)
		args = append(args, "--metrics", address)
	}
	n.Processes[component] = n.cluster.process(&Process{
		Name: n.Name + "-" + component, NetNS: n.NetNS, socket: socket, metrics: address,
		env:  append(env, "NSM_LOG_LEVEL="+strings.ToUpper(n.cluster.options.LogLevel)),
		args: append([]string{processCommand, "--"}, args...),
	})
}

// Running returns the node's own processes that run, the last started first.
func (n *Node) Running() (running []*Process) {
	for _, component := range []string{Up, Agent, Forwarder, Manager, Registry} {
		if p := n.Processes[component]; p != nil && p.Alive() {
			running = append(running, p)
		}
	}
	return running
}

// Kill kills processes at the same time.
func Kill(processes ...*Process) error {
	done := make(chan error, len(processes))
	for _, p := range processes {
		go func() { done <- p.Kill() }()
	}
	var errs []error
	for range processes {
		errs = append(errs, <-done)
	}
	return errors.Join(errs...)
}

// Restart starts processes at the same time and waits until all are ready.
func Restart(ctx context.Context, processes ...*Process) error {
	done := make(chan error, len(processes))
	for _, p := range processes {
		go func() { done <- p.Start(ctx) }()
	}
	var errs []error
	for range processes {
		errs = append(errs, <-done)
	}
	return errors.Join(errs...)
}

// LinkDown cuts the node off the underlay as a pulled cable does; both ends see
// it.
func (n *Node) LinkDown() error {
	return nl.Do(n.cluster.Path(switchName), func(h *nl.Handle) error { return setDown(h, n.Name) })
}

// LinkUp ends LinkDown.
func (n *Node) LinkUp() error {
	return nl.Do(n.cluster.Path(switchName), func(h *nl.Handle) error { return setUp(h, n.Name) })
}

// Inside runs fn on a thread in the node's namespace.
func (n *Node) Inside(fn func() error) error { return netns.Do(n.NetNS, fn) }
