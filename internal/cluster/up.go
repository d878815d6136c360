// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"

	"github.com/weft-project/weft/internal/app/up"
)

func (n *Node) upFile() string { return filepath.Join(n.Dir, "up.yaml") }

// addUp adds the node's one process.
func (n *Node) addUp() error {
	n.add(Up, n.Socket("admin"), nil, "up", "--config", n.upFile(), "--log-level", n.cluster.options.LogLevel)
	config := up.Config{Node: n.Name, RunDir: n.Dir, StateDir: n.StateDir, PinDir: n.PinDir(),
		NSMgrListen: n.tcp(managerPort), TunnelIP: n.IPv4, OnStop: n.cluster.options.OnStop,
	}
	if n.Number == 1 {
		config.RegistryListen = n.cluster.registry()
	} else {
		config.Registry = n.cluster.registry()
	}
	return n.writeUp(config)
}

// addToUp gives the node's process one more replica, from its next start on.
func (n *Node) addToUp(r *Replica, o ReplicaOptions) error {
	config, err := up.Load(n.upFile())
	if err != nil {
		return err
	}
	config.Replicas = append(config.Replicas, up.Replica{
		Name: r.Name, Trench: o.Trench, Conduit: o.Conduit, NetNS: r.NetNS, Interface: External,
		Prefixes: o.Prefixes, TableSize: uint32(o.TableSize),
		Mechanism: o.Mechanism, MechanismPolicy: o.policy(),
	})
	r.Process = n.Processes[Up]
	return n.writeUp(config)
}

func (n *Node) writeUp(config up.Config) error {
	data, err := yaml.Marshal(config)
	if err == nil {
		err = os.WriteFile(n.upFile(), data, 0o644)
	}
	if err != nil {
		return fmt.Errorf("configure %s: %w", n.Name, err)
	}
	return nil
}
