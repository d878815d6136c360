// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"time"

	"github.com/weft-project/weft/internal/config"
)

// Environment are the variables of upstream's clients that mean something
// here.
type Environment struct {
	config.Common
	RequestTimeout time.Duration `env:"NSM_REQUEST_TIMEOUT" default:"10s" desc:"how long one request to the mesh may take"`
}

// ReadEnvironment returns the decoded variables.
func ReadEnvironment(lookup config.Lookup) (Environment, error) {
	var e Environment
	if err := config.Decode(lookup, &e); err != nil {
		return Environment{}, err
	}
	return e, nil
}

// Config returns what the variables say.
func (e Environment) Config() Config {
	return Config{
		Name: e.Name, ConnectTo: e.ConnectTo,
		RequestTimeout: e.RequestTimeout, DialTimeout: e.DialTimeout,
	}
}
