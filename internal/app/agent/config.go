// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/weft-project/weft/internal/app/mesh"
	"github.com/weft-project/weft/internal/app/service"
)

// Config of the agent. The zero value of a field is its default.
type Config struct {
	// Node is the first part of the targets' names, unique among the nodes of
	// a mesh. Default: the host's name.
	Node string
	// Name of the agent in the path of connections. It must stay the same over
	// restarts. Default: weft-agent-<node>.
	Name string
	// ConnectTo is the nsmgr. Needed.
	ConnectTo *url.URL
	// Socket serves workloads, each about its own namespace. Default
	// /run/weft/agent.sock.
	Socket string
	// AdminSocket serves the administrator about all namespaces. Default
	// /run/weft/admin.sock.
	AdminSocket string
	// StateDir keeps the wanted state over restarts. The namespaces it speaks
	// of end with the machine's run, so a file system in memory suits it.
	// Default /run/weft/agent.
	StateDir string
	// SendFD passes namespaces to the nsmgr as descriptors. For upstream's
	// nsmgr, which cannot close connections of namespaces that it got by path,
	// and for any that does not share our /proc and StateDir. Upstream's keeps
	// the descriptors as long as the connections, and with them a dead
	// namespace until the agent has closed its connections.
	SendFD bool
	// RequestTimeout bounds one request to the mesh. Default 10 s.
	RequestTimeout time.Duration
	// DialTimeout bounds one attempt to connect to the nsmgr. Default
	// mesh.DefaultDialTimeout.
	DialTimeout time.Duration
}

func (c Config) withDefaults() (Config, error) {
	if c.Node == "" {
		host, err := os.Hostname()
		if err != nil {
			return c, fmt.Errorf("find the node's name: %w", err)
		}
		c.Node = host
	}
	if c.Name == "" {
		c.Name = "weft-agent-" + c.Node
	}
	if c.Socket == "" {
		c.Socket = "/run/weft/agent.sock"
	}
	if c.AdminSocket == "" {
		c.AdminSocket = "/run/weft/admin.sock"
	}
	if c.StateDir == "" {
		c.StateDir = "/run/weft/agent"
	}
	if c.RequestTimeout == 0 {
		c.RequestTimeout = 10 * time.Second
	}
	if c.DialTimeout == 0 {
		c.DialTimeout = mesh.DefaultDialTimeout
	}
	return c, nil
}

// Validate returns every problem of the configuration.
func (c Config) Validate() error {
	var errs []error
	if c.ConnectTo == nil {
		errs = append(errs, errors.New("ConnectTo is needed: the URL of the nsmgr"))
	} else if c.ConnectTo.Scheme != "unix" && c.ConnectTo.Scheme != "tcp" {
		errs = append(errs, fmt.Errorf("ConnectTo %s: scheme %q is neither unix nor tcp", c.ConnectTo, c.ConnectTo.Scheme))
	}
	if strings.ContainsAny(c.Node, "/, +\t\n") {
		errs = append(errs, fmt.Errorf("node %q has one of the characters '/', ',', '+' and white space", c.Node))
	}
	for name, path := range map[string]string{"Socket": c.Socket, "AdminSocket": c.AdminSocket} {
		if len(path) > service.MaxSocketPath {
			errs = append(errs, fmt.Errorf("%s %s has more than %d bytes", name, path, service.MaxSocketPath))
		}
	}
	if c.Socket != "" && c.Socket == c.AdminSocket {
		errs = append(errs, fmt.Errorf("Socket and AdminSocket are the same: %s", c.Socket))
	}
	if c.StateDir != "" && !filepath.IsAbs(c.StateDir) {
		errs = append(errs, fmt.Errorf("StateDir %s is not an absolute path", c.StateDir))
	}
	if c.RequestTimeout < 0 || c.DialTimeout < 0 {
		errs = append(errs, fmt.Errorf("RequestTimeout %s or DialTimeout %s is negative", c.RequestTimeout, c.DialTimeout))
	}
	return errors.Join(errs...)
}
