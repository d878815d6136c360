// SPDX-License-Identifier: Apache-2.0

package attachment

import (
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/weft-project/weft/internal/maglev"
)

var (
	namePattern    = regexp.MustCompile(`^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$`)
	servicePattern = regexp.MustCompile(`^[A-Za-z0-9]([-._@A-Za-z0-9]*[A-Za-z0-9])?$`)
	streamPattern  = regexp.MustCompile(`^[A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?$`)
)

const (
	maxName      = 63
	maxService   = 253
	maxInterface = 15 // IFNAMSIZ with its final zero byte

	// StreamsLabel is the label by which an NSM client without Weft's agent
	// asks for streams.
	StreamsLabel = "streams"
	// WeightLabel holds the weight of the target, 0 to 1000. It changes live.
	WeightLabel = "weight"
	// DrainLabel is "true" for a target that is to get no new flows. It
	// changes live.
	DrainLabel = "drain"
)

// Validate checks a specification for itself. Name and Interface may be empty.
func (s Spec) Validate() error {
	if s.Name != "" {
		if err := validateName(s.Name); err != nil {
			return err
		}
	}
	if s.Interface != "" {
		if err := validateInterface(s.Interface); err != nil {
			return err
		}
	}
	if err := validateService(s.NetworkService); err != nil {
		return err
	}
	if err := validateStreams(s.Streams); err != nil {
		return err
	}
	if err := validateLabels(s.Labels); err != nil {
		return err
	}
	return validateAddresses(s.Addresses)
}

func validateName(name string) error {
	switch {
	case len(name) > maxName:
		return errorf(Invalid, "name", "%q has %d characters, at most %d are allowed", name, len(name), maxName)
	case !namePattern.MatchString(name):
		return errorf(Invalid, "name",
			"%q is not made of lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit", name)
	}
	return nil
}

// validateInterface follows the kernel's dev_valid_name.
func validateInterface(name string) error {
	switch {
	case len(name) > maxInterface:
		return errorf(Invalid, "interface", "%q has %d bytes, at most %d are allowed", name, len(name), maxInterface)
	case name == "." || name == "..":
		return errorf(Invalid, "interface", "%q is not allowed", name)
	case strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || r == '/' || r == ':' || r == '%' }):
		return errorf(Invalid, "interface", "%q has a character other than the printable ASCII ones without space, '/', ':' and '%%'", name)
	}
	return nil
}

func validateService(service string) error {
	switch {
	case service == "":
		return errorf(Invalid, "network_service", "is needed: <conduit>.<trench>, or another NSM network service")
	case len(service) > maxService:
		return errorf(Invalid, "network_service", "has %d characters, at most %d are allowed", len(service), maxService)
	case !servicePattern.MatchString(service) || strings.Contains(service, ".."):
		return errorf(Invalid, "network_service", "%q is not <conduit>.<trench> nor another NSM network service name", service)
	}
	return nil
}

func validateStreams(streams []string) error {
	for i, stream := range streams {
		switch {
		case len(stream) > maxName:
			return errorf(Invalid, "streams", "%q has %d characters, at most %d are allowed", stream, len(stream), maxName)
		case !streamPattern.MatchString(stream):
			return errorf(Invalid, "streams",
				"%q is not made of letters, digits, '-', '.' and '_', beginning and ending with a letter or digit", stream)
		case slices.Contains(streams[:i], stream):
			return errorf(Invalid, "streams", "%q is named twice", stream)
		}
	}
	return nil
}

func validateLabels(labels map[string]string) error {
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		if key == "" {
			return errorf(Invalid, "labels", "%q has no key", "="+labels[key])
		}
	}
	if weight, ok := labels[WeightLabel]; ok {
		if _, err := maglev.ParseWeight(weight); err != nil {
			return errorf(Invalid, "labels[weight]", "%q is not a whole number from 0 to %d", weight, maglev.MaxWeight)
		}
	}
	if drain, ok := labels[DrainLabel]; ok && drain != "true" && drain != "false" {
		return errorf(Invalid, "labels[drain]", `%q is not "true" or "false"`, drain)
	}
	return nil
}

func validateAddresses(addresses []netip.Prefix) error {
	for i, address := range addresses {
		ip := address.Addr()
		switch {
		case !address.IsValid():
			return errorf(Invalid, "addresses", "number %d is not an address with prefix length", i+1)
		case ip.Is4In6() || ip.Zone() != "":
			return errorf(Invalid, "addresses", "%s is not a plain IPv4 or IPv6 address", address)
		case ip.IsUnspecified() || ip.IsLoopback() || ip.IsMulticast():
			return errorf(Invalid, "addresses", "%s is not the address of a host", address)
		}
		for _, other := range addresses[:i] {
			if other.Overlaps(address) {
				return errorf(Invalid, "addresses", "%s overlaps %s", address, other)
			}
		}
	}
	return nil
}

// normalise moves streams that are given as a label to Streams and sorts.
func (s *Spec) normalise() error {
	if label, ok := s.Labels[StreamsLabel]; ok {
		named := strings.FieldsFunc(label, func(r rune) bool { return r == ',' || r == '+' })
		slices.Sort(named)
		if len(s.Streams) > 0 && !slices.Equal(named, slices.Sorted(slices.Values(s.Streams))) {
			return errorf(Invalid, "labels", "%s=%s says something else than streams", StreamsLabel, label)
		}
		if err := validateStreams(named); err != nil {
			return err
		}
		s.Streams = named
		s.Labels = maps.Clone(s.Labels)
		delete(s.Labels, StreamsLabel)
	}
	slices.Sort(s.Streams)
	return nil
}
