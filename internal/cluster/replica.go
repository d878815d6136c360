// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"cmp"
	"errors"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
)

// Replica is a load balancer with a namespace of its own, behind a site's
// router, that runs on a node.
type Replica struct {
	*Process
	Name   string
	Number byte // of the router's uplink
	NetNS  string
	Node   *Node
}

// ReplicaOptions say what a replica serves.
type ReplicaOptions struct {
	Trench, Conduit string
	Site            *Site
	Number          byte // unique at the site
	TableSize       int  // 0: the default
	Pinned          bool // its data path outlives the process
	// Prefixes are where leg addresses come from; those of the site for the number
	// if there are none.
	Prefixes []netip.Prefix
	// Mechanism is how workloads on other nodes have to reach it; "": as their
	// forwarders like.
	Mechanism string
}

func (o ReplicaOptions) policy() string {
	if o.Mechanism == "" {
		return ""
	}
	return "required"
}

// AddReplica makes a load balancer's namespace and its process, which Start
// starts. The router does not use it before it is told to.
func (n *Node) AddReplica(name string, o ReplicaOptions) (*Replica, error) {
	c := n.cluster
	if len(o.Prefixes) == 0 {
		o.Prefixes = o.Site.LegPrefixes(o.Number)
	}
	path, err := c.Add(name)
	if err != nil {
		return nil, err
	}
	if err := o.Site.Connect(path, o.Number); err != nil {
		return nil, err
	}
	r := &Replica{Name: name, Number: o.Number, NetNS: path, Node: n}
	if c.options.Together {
		return r, n.addToUp(r, o)
	}
	var prefixes []string
	for _, p := range o.Prefixes {
		prefixes = append(prefixes, p.String())
	}
	args := []string{
		"--pass-socket=false", "--resources", c.manifests(), "--netns", path, "--interface", External,
		"--admin-socket", n.Socket(name + "-admin"), "--frontend-socket", n.FrontendSocket(name),
	}
	if o.TableSize != 0 {
		args = append(args, "--table-size", strconv.Itoa(o.TableSize))
	}
	if o.Pinned {
		args = append(args, "--pin-dir", filepath.Join(n.BPF, name), "--on-stop", cmp.Or(c.options.OnStop, "keep"))
	}
	if o.Mechanism != "" {
		args = append(args, "--mechanism", o.Mechanism, "--mechanism-policy", o.policy())
	}
	n.add(name, n.Socket(name), []string{
		"NSM_NAME=" + name, "NSM_CONNECT_TO=" + n.url(Manager), "NSM_LISTEN_ON=" + n.url(name),
		"NSM_SERVICE_NAMES=" + o.Conduit + "." + o.Trench, "NSM_CIDR_PREFIX=" + strings.Join(prefixes, ","),
	}, append([]string{"weft-endpoint"}, args...)...)
	r.Process = n.Processes[name]
	return r, nil
}

// Die ends the replica and its namespace without a word to anybody.
func (r *Replica) Die() error {
	c := r.Node.cluster
	c.forget(r.Process)
	delete(r.Node.Processes, r.Name)
	return errors.Join(c.Remove(r.Name), r.Kill())
}
