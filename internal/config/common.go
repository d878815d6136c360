// SPDX-License-Identifier: Apache-2.0

package config

import (
	"net/url"
	"time"
)

// Common are the variables that all components of NSM share; embed it.
type Common struct {
	Name             string        `env:"NSM_NAME" desc:"name in the mesh; unique and stable"`
	ConnectTo        *url.URL      `env:"NSM_CONNECT_TO" default:"unix:///var/lib/networkservicemesh/nsm.io.sock" desc:"nsmgr to connect to"`
	MaxTokenLifetime time.Duration `env:"NSM_MAX_TOKEN_LIFETIME" default:"10m" desc:"how long a connection lives without refresh"`
	DialTimeout      time.Duration `env:"NSM_DIAL_TIMEOUT" default:"10s" desc:"how long to wait for a peer that does not answer"`
	LogLevel         Level         `env:"NSM_LOG_LEVEL" default:"INFO" desc:"trace, debug, info, warn or error"`
}
