// SPDX-License-Identifier: Apache-2.0

package bfd

import (
	"bytes"
	"errors"
	"fmt"
	"time"
)

// SlowInterval is how often packets are sent at most while a session is not up
// (RFC 5880, 6.8.3).
const SlowInterval = time.Second

// The intervals that a session may have: the lower bound keeps a session from
// taking a processor, the upper is that of the field.
const (
	MinInterval = time.Millisecond
	MaxInterval = (1<<32 - 1) * time.Microsecond
)

// Config of a session, in whole microseconds.
type Config struct {
	MinTx      time.Duration // Desired Min TX Interval once it is up
	MinRx      time.Duration // Required Min RX Interval
	Multiplier uint8         // Detect Mult: after how many lost packets the neighbour gives up
	Auth       *Auth         // nil: none
	// Passive: say nothing before the neighbour has (6.1).
	Passive bool
	// AdminDown holds the session down and says so to the neighbour.
	AdminDown bool
	// ControlPlaneIndependent is said to the neighbour: the session goes on while
	// what uses it restarts.
	ControlPlaneIndependent bool
}

// Validate names every field that is wrong.
func (c Config) Validate() error {
	errs := []error{checkInterval("minTx", c.MinTx), checkInterval("minRx", c.MinRx)}
	if c.Multiplier == 0 {
		errs = append(errs, errors.New("multiplier: 0 is not between 1 and 255"))
	}
	if a := c.Auth; a != nil {
		if a.Type != KeyedSHA1 && a.Type != MeticulousKeyedSHA1 {
			errs = append(errs, fmt.Errorf("auth: %v is not supported, only %v and %v are", a.Type, KeyedSHA1, MeticulousKeyedSHA1))
		}
		if n := len(a.Key); n < 1 || n > 20 {
			errs = append(errs, fmt.Errorf("auth key: has %d bytes, not 1 to 20", n))
		}
	}
	return errors.Join(errs...)
}

func checkInterval(field string, d time.Duration) error {
	if d < MinInterval || d > MaxInterval {
		return fmt.Errorf("%s: %v is not between %v and %v", field, d, MinInterval, MaxInterval)
	}
	if d%time.Microsecond != 0 {
		return fmt.Errorf("%s: %v is no multiple of a microsecond", field, d)
	}
	return nil
}

// Equal tells whether nothing differs.
func (c Config) Equal(o Config) bool {
	if !c.Auth.equal(o.Auth) {
		return false
	}
	c.Auth, o.Auth = nil, nil
	return c == o
}

func (a *Auth) equal(o *Auth) bool {
	if a == nil || o == nil {
		return a == o
	}
	return a.Type == o.Type && a.KeyID == o.KeyID && bytes.Equal(a.Key, o.Key)
}
