// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"errors"
	"fmt"
	"path/filepath"
)

// Defaults of Config.
const (
	DefaultMaxStreams   = 64
	DefaultMaxTargets   = 1024
	DefaultMaxFlows     = 16384
	DefaultMaxTableSize = 65537
	DefaultMaxFragments = 16384
)

// Bounds of Config.
const (
	MaxTableSize = 1 << 24 // of MaxTableSize
	MaxFlows     = 1 << 20 // of MaxFlows
	MinFragments = 64      // of MaxFragments
	MaxFragments = 1 << 24
)

// Config says where the load balancer works and how large it may become.
type Config struct {
	NetNS        string // path of the namespace, "" is the current one
	Interface    string // external interface
	MaxStreams   int    // streams are 0..MaxStreams-1
	MaxTargets   int    // targets are 1..MaxTargets-1
	MaxFlows     int    // numbers of flows are 0..MaxFlows-1
	MaxTableSize uint32 // slots of the largest Maglev table
	MaxFragments int    // packets whose later fragments find their way at once
	VLAN         uint16 // of the external interface; 0: untagged
	Mode         Mode   // where the program runs
	// PinDir is a directory in a BPF file system, of this load balancer alone;
	// what is pinned there outlives the process. "": nothing does.
	PinDir string
}

func (c Config) withDefaults() Config {
	if c.MaxStreams == 0 {
		c.MaxStreams = DefaultMaxStreams
	}
	if c.MaxTargets == 0 {
		c.MaxTargets = DefaultMaxTargets
	}
	if c.MaxFlows == 0 {
		c.MaxFlows = DefaultMaxFlows
	}
	if c.MaxTableSize == 0 {
		c.MaxTableSize = DefaultMaxTableSize
	}
	if c.MaxFragments == 0 {
		c.MaxFragments = DefaultMaxFragments
	}
	return c
}

// Validate returns every problem, joined.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	if c.Interface == "" {
		errs = append(errs, errors.New("no external interface"))
	}
	if c.MaxStreams < 1 || c.MaxStreams > 1<<16 {
		errs = append(errs, fmt.Errorf("MaxStreams %d: not in 1 to 65536", c.MaxStreams))
	}
	if c.MaxTargets < 2 || c.MaxTargets > 1<<16 {
		errs = append(errs, fmt.Errorf("MaxTargets %d: not in 2 to 65536", c.MaxTargets))
	}
	if c.MaxFlows < 1 || c.MaxFlows > MaxFlows {
		errs = append(errs, fmt.Errorf("MaxFlows %d: not in 1 to %d", c.MaxFlows, MaxFlows))
	}
	if c.MaxTableSize > MaxTableSize {
		errs = append(errs, fmt.Errorf("MaxTableSize %d: more than %d", c.MaxTableSize, MaxTableSize))
	}
	if c.MaxFragments < MinFragments || c.MaxFragments > MaxFragments {
		errs = append(errs, fmt.Errorf("MaxFragments %d: not in %d to %d", c.MaxFragments, MinFragments, MaxFragments))
	}
	if c.Mode > ModeXDP {
		errs = append(errs, fmt.Errorf("Mode %d: unknown", c.Mode))
	}
	if c.PinDir != "" && !filepath.IsAbs(c.PinDir) {
		errs = append(errs, fmt.Errorf("PinDir %q: not an absolute path", c.PinDir))
	}
	if c.VLAN > 4094 {
		errs = append(errs, fmt.Errorf("VLAN %d: not in 0 to 4094", c.VLAN))
	}
	return errors.Join(errs...)
}
