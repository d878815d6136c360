// SPDX-License-Identifier: Apache-2.0

package slowpath

import (
	"errors"
	"fmt"
	"time"
)

// Defaults of Config.
const (
	DefaultErrorRate    = 1000
	DefaultErrorBurst   = 100
	DefaultMaxPerPacket = 64
	DefaultMaxPackets   = 1024
	DefaultMaxBytes     = 4 << 20
	DefaultHold         = time.Second
)

// Config is what an engine works with and within. Zero limits are the defaults.
type Config struct {
	External  int // index of the external interface
	Targets   Targets
	Gateways  Gateways
	Fragments Fragments
	Sender    Sender

	ErrorRate    int           // ICMP errors per second
	ErrorBurst   int           // ICMP errors at once
	MaxPerPacket int           // fragments held of one packet
	MaxPackets   int           // packets of which fragments are held
	MaxBytes     int           // of all frames held
	Hold         time.Duration // how long a fragment is held
}

func (c Config) withDefaults() Config {
	for _, d := range []struct {
		field *int
		value int
	}{
		{&c.ErrorRate, DefaultErrorRate}, {&c.ErrorBurst, DefaultErrorBurst}, {&c.MaxPerPacket, DefaultMaxPerPacket},
		{&c.MaxPackets, DefaultMaxPackets}, {&c.MaxBytes, DefaultMaxBytes},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if c.Hold == 0 {
		c.Hold = DefaultHold
	}
	return c
}

// Validate returns every problem, joined.
func (c Config) Validate() error {
	var errs []error
	if c.External <= 0 {
		errs = append(errs, fmt.Errorf("field External %d: not the index of an interface", c.External))
	}
	for _, part := range []struct {
		name    string
		missing bool
	}{
		{"Targets", c.Targets == nil}, {"Gateways", c.Gateways == nil},
		{"Fragments", c.Fragments == nil}, {"Sender", c.Sender == nil},
	} {
		if part.missing {
			errs = append(errs, errors.New(part.name+": missing"))
		}
	}
	for _, limit := range []struct {
		name  string
		value int
	}{
		{"ErrorRate", c.ErrorRate}, {"ErrorBurst", c.ErrorBurst}, {"MaxPerPacket", c.MaxPerPacket},
		{"MaxPackets", c.MaxPackets}, {"MaxBytes", c.MaxBytes},
	} {
		if limit.value < 0 {
			errs = append(errs, fmt.Errorf("%s %d: less than 0", limit.name, limit.value))
		}
	}
	if c.Hold < 0 {
		errs = append(errs, fmt.Errorf("field Hold %v: less than 0", c.Hold))
	}
	return errors.Join(errs...)
}
