// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/weft-project/weft/internal/config"
)

// Environment are the variables of upstream's endpoints that mean something
// here.
type Environment struct {
	config.Common
	ServiceNames    []string          `env:"NSM_SERVICE_NAMES" desc:"network services, <conduit>.<trench>"`
	Payload         string            `env:"NSM_PAYLOAD" default:"ETHERNET" desc:"payload of the network services"`
	Labels          map[string]string `env:"NSM_LABELS" desc:"labels of the endpoint"`
	RegisterService bool              `env:"NSM_REGISTER_SERVICE" default:"true" desc:"register the network services, too"`
	ListenOn        *url.URL          `env:"NSM_LISTEN_ON" default:"unix:///listen.on.socket" desc:"where to serve"`
	CIDRPrefixes    []netip.Prefix    `env:"NSM_CIDR_PREFIX" desc:"prefixes to assign addresses from, this replica's alone"`
	IdleTimeout     time.Duration     `env:"NSM_IDLE_TIMEOUT" default:"0s" desc:"stop after so long without connection, 0s is never"`
}

// ReadEnvironment returns the decoded variables.
func ReadEnvironment(lookup config.Lookup) (Environment, error) {
	var e Environment
	if err := config.Decode(lookup, &e); err != nil {
		return Environment{}, err
	}
	return e, nil
}

// Config returns what the variables say. Conduit and trench are those of the
// first network service.
func (e Environment) Config() (Config, error) {
	c := Config{
		Name:         e.Name,
		ConnectTo:    e.ConnectTo,
		ListenOn:     e.ListenOn,
		ServiceNames: e.ServiceNames,
		Payload:      e.Payload,
		Labels:       e.Labels,
		KeepService:  !e.RegisterService,
		CIDRPrefixes: e.CIDRPrefixes,
		IdleTimeout:  e.IdleTimeout,
	}
	if len(e.ServiceNames) == 0 {
		return c, fmt.Errorf("NSM_SERVICE_NAMES is empty")
	}
	var ok bool
	if c.Conduit, c.Trench, ok = strings.Cut(e.ServiceNames[0], "."); !ok || c.Conduit == "" || c.Trench == "" {
		return c, fmt.Errorf("NSM_SERVICE_NAMES: %q is not <conduit>.<trench>", e.ServiceNames[0])
	}
	return c, nil
}
