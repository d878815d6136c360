// SPDX-License-Identifier: Apache-2.0

package up

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/weft-project/weft/internal/maglev"
	"github.com/weft-project/weft/internal/wireguard"
	"github.com/weft-project/weft/pkg/dataplane/lb"
	"github.com/weft-project/weft/pkg/networkservice/tunnelmech"
)

// Config of a host. The zero value runs everything but load balancers.
type Config struct {
	// Node is the first part of the names of targets. Default: the host's name.
	Node string `yaml:"node"`
	// RunDir holds the sockets agent.sock, admin.sock and nsmgr.sock and the
	// wanted attachments. Default /run/weft.
	RunDir string `yaml:"run-dir"`
	// StateDir keeps the resources over a reboot. Default /var/lib/weft.
	StateDir string `yaml:"state-dir"`
	// NetNS is the path of the namespace that gets the node's ends of all
	// interfaces. Default: the process's own.
	NetNS string `yaml:"netns"`
	// PinDir is a directory in a BPF file system where the data path is pinned, so
	// that it outlives the process, or none. `weft up` without one takes a
	// directory of its own below /sys/fs/bpf/weft.
	PinDir string `yaml:"pin-dir"`
	// MetricsAddress serves Prometheus metrics over HTTP, such as
	// 127.0.0.1:9090; none when empty.
	MetricsAddress string `yaml:"metrics"`
	// Registry is the URL of the registry of several nodes, tcp://host:port;
	// empty: this host has its own.
	Registry string `yaml:"registry"`
	// RegistryListen is the URL to serve a registry to other nodes on,
	// tcp://host:port; this host uses it, too.
	RegistryListen string `yaml:"registry-listen"`
	// NSMgrListen is the URL where other nodes reach this one's nsmgr,
	// tcp://host:port. Needed with one of the above.
	NSMgrListen string `yaml:"nsmgr-listen"`
	// TunnelIP is this host's address for tunnels to other nodes.
	TunnelIP netip.Addr `yaml:"tunnel-ip"`
	// Mechanism is how endpoints on other nodes are reached that do not say, vxlan
	// or wireguard; MechanismPolicy whether that is preferred or required.
	// Default: vxlan, preferred.
	Mechanism       string `yaml:"mechanism"`
	MechanismPolicy string `yaml:"mechanism-policy"`
	// LivenessInterval is how often another node is probed, LivenessMultiplier how
	// many probes without answer make it dead. Default: 200ms, 4.
	LivenessInterval   time.Duration `yaml:"liveness-interval"`
	LivenessMultiplier int           `yaml:"liveness-multiplier"`
	// WireGuard says who encrypts: kernel, userspace, auto or off. Default: auto,
	// the kernel where it can.
	WireGuard wireguard.Mode `yaml:"wireguard"`
	// WireGuardPort and the one after it are its UDP ports. Default: 51820.
	WireGuardPort uint16 `yaml:"wireguard-port"`
	// KeyRotation is how old its keys get. Default: 24h; negative: forever.
	KeyRotation time.Duration `yaml:"key-rotation"`
	// OnStop says what becomes of the data path at the end: keep or remove.
	// Default: keep where it is pinned.
	OnStop string `yaml:"on-stop"`
	// SecretsDir has the Secrets that gateways name, each a directory with a file
	// for every key. Keys are followed when they change.
	SecretsDir string `yaml:"secrets-dir"`
	// Replicas are the load-balancer endpoints to run on this host.
	Replicas []Replica `yaml:"replicas"`

	Log *slog.Logger `yaml:"-"` // slog.Default() when nil
}

// Replica is a load balancer of one conduit.
type Replica struct {
	// Name of the network service endpoint, unique in the mesh.
	Name string `yaml:"name"`
	// Trench and Conduit whose resources it carries out; on the mesh it serves
	// <conduit>.<trench>.
	Trench  string `yaml:"trench"`
	Conduit string `yaml:"conduit"`
	// NetNS is the path of the namespace that it balances in.
	NetNS string `yaml:"netns"`
	// Interface to the outside that is in NetNS already; empty: the one of the
	// conduit's attractor, which is brought there.
	Interface string `yaml:"interface"`
	// VLAN tag of the traffic there; 0 = untagged.
	VLAN uint16 `yaml:"vlan"`
	// Prefixes that the addresses of its legs come from, one per IP family;
	// those of two replicas must not overlap.
	Prefixes []netip.Prefix `yaml:"prefixes"`
	// Mechanism is how workloads on other nodes reach it, vxlan or wireguard;
	// MechanismPolicy whether that is preferred or required. Default: what the
	// workloads' nodes are configured for.
	Mechanism       string `yaml:"mechanism"`
	MechanismPolicy string `yaml:"mechanism-policy"`
	// MTU of its legs; 0 = the workload's choice.
	MTU uint32 `yaml:"mtu"`
	// TableSize of the Maglev tables of streams that name none, a prime number;
	// 0 = 65537.
	TableSize uint32 `yaml:"table-size"`
	// MaxTableSize is the room for the tables of streams that name their size;
	// 0 = TableSize. It costs 4 bytes a slot for every stream.
	MaxTableSize uint32 `yaml:"max-table-size"`
	// Mode is where the load balancer meets the frames from outside: tcx, xdp
	// (in the interface's driver, or not at all) or auto, which is xdp where it
	// pays. Default: auto.
	Mode lb.Mode `yaml:"mode"`
	// MaxFlows is how many flows there may be at once; 0 = 16384.
	MaxFlows int `yaml:"max-flows"`
	// MaxFragments is how many fragmented packets are remembered at once; 0 =
	// 16384, which takes 2 MB.
	MaxFragments int `yaml:"max-fragments"`
	// Withdraw is how long gateways get, when the replica is stopped, to send traffic
	// elsewhere before the workloads leave; 0 = 1s.
	Withdraw time.Duration `yaml:"withdraw"`
}

// Load reads a configuration file. Unknown fields are errors.
func Load(path string) (Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	var c Config
	if err := dec.Decode(&c); err != nil && !errors.Is(err, io.EOF) {
		return Config{}, fmt.Errorf("configuration %s: %w", path, err)
	}
	if err := c.Validate(); err != nil {
		return Config{}, fmt.Errorf("configuration %s: %w", path, err)
	}
	return c, nil
}

// Validate returns every problem that can be seen without the machine.
func (c Config) Validate() error {
	var problems []error
	for field, dir := range map[string]string{"run-dir": c.RunDir, "state-dir": c.StateDir, "netns": c.NetNS, "secrets-dir": c.SecretsDir} {
		if dir != "" && !filepath.IsAbs(dir) {
			problems = append(problems, fmt.Errorf("%s: %q is not an absolute path", field, dir))
		}
	}
	if c.PinDir != "" && c.PinDir != noPins && !filepath.IsAbs(c.PinDir) {
		problems = append(problems, fmt.Errorf("pin-dir: %q is neither an absolute path nor %s", c.PinDir, noPins))
	}
	problems = append(problems, c.validateNodes()...)
	for i, r := range c.Replicas {
		where := fmt.Sprintf("replicas[%d]", i)
		for field, value := range map[string]string{
			"name": r.Name, "trench": r.Trench, "conduit": r.Conduit,
		} {
			if value == "" {
				problems = append(problems, fmt.Errorf("%s.%s: missing", where, field))
			}
		}
		if _, err := tunnelmech.ParsePolicy(r.Mechanism, r.MechanismPolicy); err != nil {
			problems = append(problems, fmt.Errorf("%s.mechanism: %w", where, err))
		}
		if len(r.Prefixes) == 0 {
			problems = append(problems, fmt.Errorf("%s.prefixes: missing", where))
		}
		if r.VLAN != 0 && r.Interface == "" {
			problems = append(problems, fmt.Errorf("%s.vlan: needs interface; the attractor's nsm-vlan has a tag of its own", where))
		}
		if r.VLAN > 4094 {
			problems = append(problems, fmt.Errorf("%s.vlan: %d is not within 0 to 4094", where, r.VLAN))
		}
		if r.TableSize != 0 && !maglev.IsPrime(r.TableSize) {
			problems = append(problems, fmt.Errorf("%s.table-size: %d is not a prime number", where, r.TableSize))
		}
		if r.MaxFlows < 0 || r.MaxFlows > lb.MaxFlows {
			problems = append(problems, fmt.Errorf("%s.max-flows: %d is not within 0 to %d", where, r.MaxFlows, lb.MaxFlows))
		}
		if r.MaxFragments != 0 && (r.MaxFragments < lb.MinFragments || r.MaxFragments > lb.MaxFragments) {
			problems = append(problems, fmt.Errorf("%s.max-fragments: %d is neither 0 nor within %d to %d",
				where, r.MaxFragments, lb.MinFragments, lb.MaxFragments))
		}
		if r.Withdraw < 0 {
			problems = append(problems, fmt.Errorf("%s.withdraw: %v is negative", where, r.Withdraw))
		}
		for _, other := range c.Replicas[:i] {
			problems = append(problems, r.conflicts(other, where)...)
		}
	}
	slices.SortFunc(problems, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(problems...)
}

func (r Replica) conflicts(other Replica, where string) (problems []error) {
	if r.Name == other.Name {
		problems = append(problems, fmt.Errorf("%s.name: %q is taken by another replica", where, r.Name))
	}
	if r.NetNS == other.NetNS && r.Interface == other.Interface && r.Interface != "" {
		problems = append(problems, fmt.Errorf("%s.interface: %s is taken by %s", where, r.Interface, other.Name))
	}
	if r.Trench != other.Trench || r.Conduit != other.Conduit {
		return problems
	}
	if r.NetNS == other.NetNS && r.Interface == "" && other.Interface == "" {
		problems = append(problems, fmt.Errorf("%s.netns: %s gets the attractor's interface there already", where, other.Name))
	}
	for _, p := range r.Prefixes {
		if slices.ContainsFunc(other.Prefixes, p.Overlaps) {
			problems = append(problems, fmt.Errorf("%s.prefixes: %s overlaps with one of %s", where, p, other.Name))
		}
	}
	return problems
}

func (c Config) withDefaults() (Config, error) {
	if c.RunDir == "" {
		c.RunDir = "/run/weft"
	}
	if c.StateDir == "" {
		c.StateDir = "/var/lib/weft"
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Node == "" {
		host, err := os.Hostname()
		if err != nil {
			return c, fmt.Errorf("find the node's name: %w", err)
		}
		c.Node = host
	}
	return c, nil
}
