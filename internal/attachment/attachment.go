// SPDX-License-Identifier: Apache-2.0

package attachment

import (
	"crypto/sha256"
	"maps"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-project/weft/internal/netns"
)

// Spec is the wanted state of an attachment.
type Spec struct {
	Name           string
	NetworkService string
	Interface      string
	Streams        []string          `json:",omitempty"`
	Labels         map[string]string `json:",omitempty"`
	Addresses      []netip.Prefix    `json:",omitempty"`
	NetNS          netns.ID
	// Path led to the namespace when the attachment was made.
	Path string
	// Origin tells the API that made the attachment and looks after it.
	Origin string `json:",omitempty"`
}

func (s Spec) clone() Spec {
	s.Streams = slices.Clone(s.Streams)
	s.Labels = maps.Clone(s.Labels)
	s.Addresses = slices.Clone(s.Addresses)
	return s
}

// Attachment is the wanted and the observed state.
type Attachment struct {
	Spec       Spec
	Generation int64
	Created    time.Time
	Status     Status
}

// Condition returns the condition of that type.
func (a Attachment) Condition(kind ConditionType) Condition {
	for _, condition := range a.Status.Conditions {
		if condition.Type == kind {
			return condition
		}
	}
	return Condition{Type: kind, Status: Unknown}
}

// Status is the observed state.
type Status struct {
	ObservedGeneration int64
	Conditions         []Condition
	Interface          *Interface
	Legs               []Leg
	Streams            []Stream
	LastError          string
	Target             string
	NetNSPath          string
}

// ConditionType names a condition.
type ConditionType string

// The conditions of an attachment.
const (
	// Accepted: the endpoints take the attachment as it is specified.
	Accepted ConditionType = "Accepted"
	// Programmed: the interface and at least one leg stand.
	Programmed ConditionType = "Programmed"
	// Ready: at least one leg stands as specified, and every other one does
	// or was tried.
	Ready ConditionType = "Ready"
)

// ConditionStatus is three-valued.
type ConditionStatus int

// The values of a condition.
const (
	Unknown ConditionStatus = iota
	True
	False
)

// Condition follows the conventions of Kubernetes' conditions.
type Condition struct {
	Type           ConditionType
	Status         ConditionStatus
	Reason         string
	Message        string
	LastTransition time.Time
}

// Reasons of conditions.
const (
	ReasonAccepted      = "Accepted"
	ReasonRefused       = "Refused"
	ReasonPending       = "Pending"
	ReasonNoEndpoint    = "NoEndpoint"
	ReasonConnected     = "Connected"
	ReasonNotConnected  = "NotConnected"
	ReasonAllLegs       = "AllLegs"
	ReasonSomeLegs      = "SomeLegs"
	ReasonConnecting    = "Connecting"
	ReasonFailed        = "Failed"
	ReasonDetaching     = "Detaching"
	ReasonNamespaceGone = "NamespaceGone"
)

// Interface is the interface in the workload's namespace.
type Interface struct {
	Name      string
	Index     int
	MAC       net.HardwareAddr
	MTU       int
	Addresses []netip.Prefix
	VIPs      []netip.Prefix
}

// LegState tells how far a leg is.
type LegState int

// The states of a leg.
const (
	Connecting LegState = iota + 1
	Up
	Updating
	Retrying
	Closing
)

// Leg is one connection: to one endpoint of the network service.
type Leg struct {
	Endpoint     string
	State        LegState
	ConnectionID string
	Since        time.Time
	LastError    string
	RetryAt      time.Time
}

// StreamState tells whether a wanted stream is joined.
type StreamState int

// The states of a stream.
const (
	StreamPending StreamState = iota + 1
	StreamJoined
	StreamRefused
)

// Stream is the observed state of one wanted stream.
type Stream struct {
	Name  string
	State StreamState
	Since time.Time
	// Kind and Message tell why a stream is refused.
	Kind    Kind
	Message string
}

// MAC returns the address of the interface of the target with that name. It
// follows from the name, so that it stays when the interface is made anew.
func MAC(target string) net.HardwareAddr {
	sum := sha256.Sum256([]byte("weft-workload\x00" + target))
	mac := net.HardwareAddr(sum[:6])
	mac[0] = mac[0]&^1 | 2 // unicast, locally administered
	return mac
}
