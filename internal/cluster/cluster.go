// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Options of a cluster. The zero value is one node.
type Options struct {
	// Prefix of the names of all namespaces. Needed, unique on the machine.
	Prefix string
	// Nodes is how many there are; 1 when 0.
	Nodes int
	// MTU of the underlay; 1500 when 0.
	MTU int
	// Together runs each node as one process, `weft up`, and not the components
	// apart.
	Together bool
	// Binary is the weft command; this process's own binary when empty. It must
	// have the hidden commands of this package.
	Binary string
	// Manifests are the resources that the load balancers carry out.
	Manifests []byte
	// StateSize is the room in a node's state directory, in bytes, which then is a
	// file system of its own; 0: the disk's.
	StateSize int
	// LogLevel of the components; info when empty.
	LogLevel string
	// Metrics has every component serve its metrics, for Process.Metrics.
	Metrics bool
	// Dir is made for sockets, state and logs; a temporary directory when empty.
	Dir string
	// OnStop is what becomes of the data path when a component is told to end, keep
	// or remove: the default of each when empty.
	OnStop string
	// KeyRotation is how old a forwarder's keys get; 0: as long as its default.
	KeyRotation time.Duration
}

func (o Options) withDefaults() (Options, error) {
	if o.Prefix == "" {
		return o, errors.New("cluster: Prefix is empty")
	}
	if o.Nodes == 0 {
		o.Nodes = 1
	}
	if o.Nodes < 1 || o.Nodes > 250 {
		return o, fmt.Errorf("cluster: Nodes %d is not within 1 to 250", o.Nodes)
	}
	if o.MTU == 0 {
		o.MTU = 1500
	}
	if o.LogLevel == "" {
		o.LogLevel = "info"
	}
	if o.Binary == "" {
		self, err := os.Executable()
		if err != nil {
			return o, err
		}
		o.Binary = self
	}
	return o, nil
}

// Cluster is a number of nodes with all that is around them.
type Cluster struct {
	*Namespaces
	Nodes []*Node
	Dir   string // of sockets, state and logs; removed by Close

	options   Options
	mu        sync.Mutex
	processes []*Process // in the order that they were added
	release   []func() error
}

// New makes the nodes and the underlay. Nothing runs yet.
func New(options Options) (_ *Cluster, err error) {
	options, err = options.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Cluster{Namespaces: NewNamespaces(options.Prefix), options: options}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("make cluster: %w", err), c.Close())
		}
	}()
	if err := c.makeDir(); err != nil {
		return nil, err
	}
	if err := os.WriteFile(c.manifests(), options.Manifests, 0o644); err != nil {
		return nil, err
	}
	if err := c.makeSwitch(); err != nil {
		return nil, err
	}
	for number := range options.Nodes {
		node, err := c.makeNode(byte(number + 1))
		if err != nil {
			return nil, err
		}
		c.Nodes = append(c.Nodes, node)
	}
	return c, c.awaitUnderlay()
}

// makeDir makes the directory. The path of a unix socket is short.
func (c *Cluster) makeDir() (err error) {
	if dir := c.options.Dir; dir != "" {
		if err = os.Mkdir(dir, 0o755); err == nil {
			c.Dir = dir
		}
		return err
	}
	c.Dir, err = os.MkdirTemp("", "weft-c-")
	return err
}

// registry is the URL of the nodes' common registry, on the first one.
func (c *Cluster) registry() string {
	return fmt.Sprintf("tcp://%s:%d", nodeIPv4(1), registryPort)
}

// SetManifests replaces the resources, which load balancers follow.
func (c *Cluster) SetManifests(manifests []byte) error {
	next := c.manifests() + ".next"
	if err := os.WriteFile(next, manifests, 0o644); err != nil {
		return err
	}
	return os.Rename(next, c.manifests())
}

func (c *Cluster) manifests() string { return filepath.Join(c.Dir, "resources.yaml") }

// Start runs every process that has been added and does not run, in order, and
// waits until all are ready.
func (c *Cluster) Start(ctx context.Context) error {
	for _, p := range c.Processes() {
		if p.Alive() {
			continue
		}
		if err := p.Start(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Processes returns all processes in the order that they were added.
func (c *Cluster) Processes() []*Process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.processes)
}

func (c *Cluster) process(p *Process) *Process {
	p.binary = c.options.Binary
	p.Log = filepath.Join(c.Dir, "log", p.Name+".log")
	c.mu.Lock()
	defer c.mu.Unlock()
	c.processes = append(c.processes, p)
	return p
}

func (c *Cluster) forget(p *Process) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.processes = slices.DeleteFunc(c.processes, func(other *Process) bool { return other == p })
}

// onClose is undone before those that came earlier.
func (c *Cluster) onClose(release func() error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.release = append(c.release, release)
}

// WriteLogs writes the end of every process's log.
func (c *Cluster) WriteLogs(w io.Writer, lines int) {
	for _, p := range c.Processes() {
		fmt.Fprintf(w, "--- %s (pid %d, alive %t)\n%s\n", p.Name, p.PID(), p.Alive(), p.Tail(lines))
	}
}

// Close ends all processes, the newest first, and removes everything.
func (c *Cluster) Close() error {
	var errs []error
	processes := c.Processes()
	for _, p := range slices.Backward(processes) {
		errs = append(errs, p.Resume(), p.Stop())
	}
	c.mu.Lock()
	release := c.release
	c.release, c.processes = nil, nil
	c.mu.Unlock()
	for _, undo := range slices.Backward(release) {
		errs = append(errs, undo())
	}
	errs = append(errs, c.endStrays())
	if c.Dir != "" {
		errs = append(errs, clearMounts(c.Dir))
	}
	errs = append(errs, c.Namespaces.Close())
	if c.Dir != "" {
		errs = append(errs, os.RemoveAll(c.Dir))
	}
	return errors.Join(errs...)
}
