// SPDX-License-Identifier: Apache-2.0

package extracontext

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/weft-project/weft/internal/maglev"
)

// Keys of the extra context.
const (
	// StreamsKey holds the wanted streams, sorted and separated by commas. When
	// present, even empty, it overrides the label LabelStreams.
	StreamsKey = "weft.dev/streams"
	// TargetKey holds the stable name of the target.
	TargetKey = "weft.dev/target"
	// WeightKey holds the weight of the target, a whole number from 0 to 1000.
	// When present, it overrides the label LabelWeight.
	WeightKey = "weft.dev/weight"
	// DrainKey says whether the target drains: "true" or "false". When present,
	// it overrides the label LabelDrain.
	DrainKey = "weft.dev/drain"
	// LinkKey says who sets the endpoint's interface up.
	LinkKey = "weft.dev/link"
	// LeaseKey holds for how many seconds from the Request on the client's
	// interface may hold the addresses of the connection, VIPs excepted. The
	// endpoint writes it.
	LeaseKey = "weft.dev/lease"
)

// LinkEndpoint is the value of LinkKey by which an endpoint announces that it
// sets its interface up by itself, when it is ready for packets.
const LinkEndpoint = "endpoint"

// Labels of a new connection.
const (
	// LabelStreams is the label that holds the first streams of a connection,
	// separated by ',' or '+' (a comma separates labels in a pod annotation).
	LabelStreams = "streams"
	// LabelWeight holds the first weight.
	LabelWeight = "weight"
	// LabelDrain is "true" for a target that drains from the beginning.
	LabelDrain = "drain"
)

// maxName is the longest name of a stream or target in bytes.
const maxName = 253

// The gateway as a workload sees it: the same link-local addresses and MAC on
// every interface, so that no leg owns them.
var (
	Gateway4 = netip.AddrFrom4([4]byte{169, 254, 87, 1})
	Gateway6 = netip.MustParseAddr("fe80::57:4546:5401")
)

// GatewayMAC returns the MAC of the gateway; the caller owns the slice.
func GatewayMAC() net.HardwareAddr {
	return net.HardwareAddr{0x02, 0x57, 0x45, 0x46, 0x54, 0x01}
}

// FormatStreams returns the value of StreamsKey for names: sorted, each once.
func FormatStreams(names []string) string {
	sorted := slices.Clone(names)
	slices.Sort(sorted)
	return strings.Join(slices.Compact(sorted), ",")
}

// ParseStreams returns the sorted names in a value of StreamsKey. The empty
// value means no stream.
func ParseStreams(value string) ([]string, error) {
	names, err := splitStreams(value, func(r rune) bool { return r == ',' })
	if err != nil {
		return nil, fmt.Errorf("extra context %s %q: %w", StreamsKey, value, err)
	}
	return names, nil
}

func splitStreams(value string, separator func(rune) bool) ([]string, error) {
	if value == "" {
		return nil, nil
	}
	var names []string
	for rest := value; ; {
		name, found := rest, strings.IndexFunc(rest, separator)
		if found >= 0 {
			name, rest = rest[:found], rest[found+1:]
		}
		if err := checkName(name); err != nil {
			return nil, err
		}
		if slices.Contains(names, name) {
			return nil, fmt.Errorf("stream %q is named twice", name)
		}
		names = append(names, name)
		if found < 0 {
			break
		}
	}
	slices.Sort(names)
	return names, nil
}

func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("a name is empty")
	case len(name) > maxName:
		return fmt.Errorf("a name has %d bytes, more than %d", len(name), maxName)
	}
	for _, r := range name {
		if r == unicode.ReplacementChar || r == ',' || r == '+' || unicode.IsSpace(r) || !unicode.IsPrint(r) {
			return fmt.Errorf("name %q holds the character %q", name, r)
		}
	}
	return nil
}

// Streams returns the sorted names of the streams that conn wants to join:
// those of its extra context, else those of its labels.
func Streams(conn *networkservice.Connection) ([]string, error) {
	if value, ok := get(conn, StreamsKey); ok {
		return ParseStreams(value)
	}
	value := conn.GetLabels()[LabelStreams]
	names, err := splitStreams(value, func(r rune) bool { return r == ',' || r == '+' })
	if err != nil {
		return nil, fmt.Errorf("label %s %q: %w", LabelStreams, value, err)
	}
	return names, nil
}

// SetStreams writes the wanted streams into conn; no names means no stream,
// whatever the labels say.
func SetStreams(conn *networkservice.Connection, names []string) {
	set(conn, StreamsKey, FormatStreams(names))
}

// Target returns the stable name of the target behind conn, "" if it has none.
func Target(conn *networkservice.Connection) (string, error) {
	value, ok := get(conn, TargetKey)
	if !ok {
		return "", nil
	}
	if err := checkName(value); err != nil {
		return "", fmt.Errorf("extra context %s: %w", TargetKey, err)
	}
	return value, nil
}

// SetTarget writes the stable name of the target into conn.
func SetTarget(conn *networkservice.Connection, name string) { set(conn, TargetKey, name) }

// Weight returns the weight of the target behind conn: that of its extra context,
// else that of its labels, else maglev.DefaultWeight.
func Weight(conn *networkservice.Connection) (uint16, error) {
	where, value, ok := either(conn, WeightKey, LabelWeight)
	if !ok {
		return maglev.DefaultWeight, nil
	}
	weight, err := maglev.ParseWeight(value)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", where, err)
	}
	return weight, nil
}

// SetWeight writes the weight of the target into conn.
func SetWeight(conn *networkservice.Connection, weight uint16) {
	set(conn, WeightKey, strconv.FormatUint(uint64(weight), 10))
}

// Drain reports whether the target behind conn drains, by its extra context,
// else by its labels.
func Drain(conn *networkservice.Connection) (bool, error) {
	where, value, ok := either(conn, DrainKey, LabelDrain)
	if !ok {
		return false, nil
	}
	drain, err := ParseDrain(value)
	if err != nil {
		return false, fmt.Errorf("%s: %w", where, err)
	}
	return drain, nil
}

// ParseDrain reads a value of DrainKey or LabelDrain.
func ParseDrain(value string) (bool, error) {
	if value != "true" && value != "false" {
		return false, fmt.Errorf(`%q is not "true" or "false"`, value)
	}
	return value == "true", nil
}

// SetDrain writes into conn whether its target drains.
func SetDrain(conn *networkservice.Connection, drain bool) {
	set(conn, DrainKey, strconv.FormatBool(drain))
}

// either returns a value of the extra context, else of the labels, and where it
// stands.
func either(conn *networkservice.Connection, key, label string) (where, value string, ok bool) {
	if value, ok := get(conn, key); ok {
		return "extra context " + key, value, true
	}
	value, ok = conn.GetLabels()[label]
	return "label " + label, value, ok
}

// EndpointBringsUp reports whether the endpoint sets its interface up itself.
func EndpointBringsUp(conn *networkservice.Connection) (bool, error) {
	value, ok := get(conn, LinkKey)
	if !ok {
		return false, nil
	}
	if value != LinkEndpoint {
		return false, fmt.Errorf("extra context %s: %q, want %q", LinkKey, value, LinkEndpoint)
	}
	return true, nil
}

// SetEndpointBringsUp marks conn: the endpoint sets its interface up itself.
func SetEndpointBringsUp(conn *networkservice.Connection) { set(conn, LinkKey, LinkEndpoint) }

func get(conn *networkservice.Connection, key string) (string, bool) {
	value, ok := conn.GetContext().GetExtraContext()[key]
	return value, ok
}

func set(conn *networkservice.Connection, key, value string) {
	if conn.Context == nil {
		conn.Context = &networkservice.ConnectionContext{}
	}
	if conn.Context.ExtraContext == nil {
		conn.Context.ExtraContext = make(map[string]string)
	}
	conn.Context.ExtraContext[key] = value
}
