// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/pkg/apis/v1alpha1"
)

func portsOverlap(a, b classify.PortRange) bool { return a.First <= b.Last && b.First <= a.Last }

// ParsePortRange parses "n", "n-m" or "any" (which is 0-65535).
func ParsePortRange(s string) (classify.PortRange, error) {
	if s == "any" {
		return classify.PortRange{First: 0, Last: math.MaxUint16}, nil
	}
	first, last, isRange := strings.Cut(s, "-")
	if !isRange {
		last = first
	}
	f, err := parsePort(first)
	if err != nil {
		return classify.PortRange{}, fmt.Errorf(`%q is not a port; write "n", "n-m" or "any" with ports from 0 to 65535`, s)
	}
	l, err := parsePort(last)
	if err != nil {
		return classify.PortRange{}, fmt.Errorf(`%q is not a port; write "n", "n-m" or "any" with ports from 0 to 65535`, s)
	}
	if f > l {
		return classify.PortRange{}, fmt.Errorf("%q ends before it starts", s)
	}
	return classify.PortRange{First: f, Last: l}, nil
}

func parsePort(s string) (uint16, error) {
	if s == "" || s[0] == '+' {
		return 0, errors.New("not a number")
	}
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err
}

// protocolNumbers are the IP protocol numbers of the protocols' names.
var protocolNumbers = map[string]uint8{v1alpha1.TCP: classify.TCP, v1alpha1.UDP: classify.UDP, v1alpha1.SCTP: classify.SCTP}

// ProtocolNumber returns the IP protocol number of tcp, udp or sctp.
func ProtocolNumber(name string) uint8 { return protocolNumbers[name] }

var byteMatchPattern = regexp.MustCompile(`^(sctp|tcp|udp)\[ *([0-9]+) *: *([124]) *\]( *& *(0x[0-9a-f]+))? *= *([0-9]+|0x[0-9a-f]+)$`)

// ParseByteMatch parses a byte match such as "tcp[2:2] & 0xfff0 = 4000".
func ParseByteMatch(s string) (classify.ByteMatch, error) {
	m := byteMatchPattern.FindStringSubmatch(s)
	if m == nil {
		return classify.ByteMatch{}, fmt.Errorf(`%q is not a byte match; write "protocol[offset:width] & 0xmask = value" with tcp, udp or sctp, width 1, 2 or 4 and an optional mask`, s)
	}
	protocol, width := m[1], m[3][0]-'0'
	offset, err := strconv.ParseUint(m[2], 10, 8)
	if err != nil || offset > classify.MaxByteOffset {
		return classify.ByteMatch{}, fmt.Errorf("%q: the offset must be between 0 and %d, not %s", s, classify.MaxByteOffset, m[2])
	}
	limit := uint64(1)<<(8*width) - 1
	mask := limit
	if m[5] != "" {
		mask, err = strconv.ParseUint(m[5][2:], 16, 64)
		switch {
		case err != nil || mask > limit:
			return classify.ByteMatch{}, fmt.Errorf("%q: the mask does not fit into %d byte(s)", s, width)
		case mask == 0:
			return classify.ByteMatch{}, fmt.Errorf("%q: the mask selects no bit", s)
		}
	}
	digits, base := m[6], 10
	if hex, ok := strings.CutPrefix(digits, "0x"); ok {
		digits, base = hex, 16
	}
	value, err := strconv.ParseUint(digits, base, 64)
	switch {
	case err != nil || value > limit:
		return classify.ByteMatch{}, fmt.Errorf("%q: the value does not fit into %d byte(s)", s, width)
	case value&^mask != 0:
		return classify.ByteMatch{}, fmt.Errorf("%q can never match: the value has bits that the mask clears", s)
	}
	return classify.ByteMatch{
		Protocol: protocolNumbers[protocol], Offset: uint8(offset), Width: width, Mask: uint32(mask), Value: uint32(value),
	}, nil
}

// ParsePrefix parses a prefix in CIDR form whose host bits are zero.
func ParsePrefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		if a, addrErr := netip.ParseAddr(s); addrErr == nil && a.Zone() == "" {
			return netip.Prefix{}, fmt.Errorf("%q has no prefix length; write %s/%d", s, s, a.BitLen())
		}
		return netip.Prefix{}, fmt.Errorf("%q is not a prefix in CIDR form such as 20.0.0.1/32 or 2000::1/128", s)
	}
	if p.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("%q is an IPv4 address written as IPv6; write it as IPv4", s)
	}
	if p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("%q has bits set beyond its prefix length; write %s", s, p.Masked())
	}
	return p, nil
}

// reservedPrefixes hold addresses that no service can have: "this host", loop
// back, link-local and multicast (RFC 6890, RFC 4291).
var reservedPrefixes = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("224.0.0.0/4"),
	netip.MustParsePrefix("::/127"), netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("ff00::/8"),
}

// reservedIn returns a reserved prefix that shares addresses with p.
func reservedIn(p netip.Prefix) (netip.Prefix, bool) {
	for _, r := range reservedPrefixes {
		if r.Overlaps(p) {
			return r, true
		}
	}
	return netip.Prefix{}, false
}

// AddressRange is the addresses from First to Last.
type AddressRange struct{ First, Last netip.Addr }

func (r AddressRange) overlaps(o AddressRange) bool {
	return r.First.Is4() == o.First.Is4() && !r.Last.Less(o.First) && !o.Last.Less(r.First)
}

// ParseAddressRanges parses an attractor's prefix as AddressRanges does, and
// returns the network alone.
func ParseAddressRanges(s string) (netip.Prefix, error) {
	network, _, err := AddressRanges(s)
	return network, err
}

// AddressRanges parses an attractor's prefix: one prefix, or ranges
// "first-last/bits" of one network joined by ';'. It returns the network and the
// ranges; a prefix is one range, with the addresses of its ends.
func AddressRanges(s string) (netip.Prefix, []AddressRange, error) {
	parts := strings.Split(s, ";")
	var network netip.Prefix
	var ranges []AddressRange
	for _, part := range parts {
		first, rest, isRange := strings.Cut(part, "-")
		if !isRange {
			if len(parts) > 1 {
				return netip.Prefix{}, nil, fmt.Errorf(`%q: only ranges like "10.0.0.2-10.0.0.9/24" can be joined by ";"`, part)
			}
			p, err := ParsePrefix(part)
			if err != nil {
				return netip.Prefix{}, nil, err
			}
			return p, []AddressRange{{p.Addr(), lastAddress(p)}}, nil
		}
		p, r, err := parseAddressRange(first, rest)
		if err != nil {
			return netip.Prefix{}, nil, fmt.Errorf("%q: %w", part, err)
		}
		if network.IsValid() && p != network {
			return netip.Prefix{}, nil, fmt.Errorf("%q is in network %s, the range before it in %s", part, p, network)
		}
		network, ranges = p, append(ranges, r)
	}
	return network, ranges, nil
}

func parseAddressRange(first, rest string) (netip.Prefix, AddressRange, error) {
	none := AddressRange{}
	start, err := netip.ParseAddr(first)
	if err != nil || start.Zone() != "" || start.Is4In6() {
		return netip.Prefix{}, none, fmt.Errorf("%q is not an address", first)
	}
	end, err := netip.ParsePrefix(rest)
	if err != nil || end.Addr().Is4In6() {
		return netip.Prefix{}, none, fmt.Errorf("%q is not an address with a prefix length", rest)
	}
	if !end.Contains(start) {
		return netip.Prefix{}, none, fmt.Errorf("%s is not in %s", start, end.Masked())
	}
	if end.Addr().Less(start) {
		return netip.Prefix{}, none, errors.New("the range ends before it starts")
	}
	return end.Masked(), AddressRange{start, end.Addr()}, nil
}

// familyOf names the IP family of an address as a trench's ip-family does.
func familyOf(a netip.Addr) string {
	if a.Is4() {
		return v1alpha1.IPv4
	}
	return v1alpha1.IPv6
}

// familyAllowed reports whether a trench of the given family has such
// addresses.
func familyAllowed(ipFamily string, a netip.Addr) bool {
	return ipFamily == v1alpha1.Dualstack || ipFamily == familyOf(a)
}

var (
	labelPattern     = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)
	subdomainPattern = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
	interfacePattern = regexp.MustCompile(`^[^:/\s]+$`)
	keyNamePattern   = regexp.MustCompile(`^[-._a-zA-Z0-9]+$`)
)

// Limits on names. The longest names that Meridio can deploy a trench,
// attractor or conduit under; interface names leave room for a VLAN suffix.
const (
	maxTrenchName    = 42
	maxAttractorName = 41
	maxConduitName   = 57
	maxName          = 253
	maxNamespace     = 63
	maxInterfaceName = 13
)

func checkInterfaceName(s string, limit int) error {
	switch {
	case s == "":
		return errors.New("must not be empty")
	case len(s) > limit:
		return fmt.Errorf("%q has %d characters; an interface name here has at most %d", s, len(s), limit)
	case !interfacePattern.MatchString(s) || s == "." || s == "..":
		return fmt.Errorf("%q is not an interface name; ':', '/' and white space are not allowed", s)
	}
	return nil
}
