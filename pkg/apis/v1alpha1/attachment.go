// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import "time"

// Attachment is one workload's secondary interface: what is wanted and what is
// observed.
type Attachment struct {
	TypeMeta
	Metadata ObjectMeta       `json:"metadata"`
	Spec     AttachmentSpec   `json:"spec"`
	Status   AttachmentStatus `json:"status,omitzero"`
}

// AttachmentSpec is the wanted state of an Attachment.
type AttachmentSpec struct {
	// NetworkService is "<conduit>.<trench>".
	NetworkService string `json:"network-service"`
	// Interface is the name in the workload, 1 to 15 characters.
	Interface string `json:"interface"`
	// Streams are names of Stream objects that the workload joins.
	Streams []string `json:"streams,omitempty"`
	// Labels are the NSM labels of the connections.
	Labels map[string]string `json:"labels,omitempty"`
	// Addresses are fixed addresses in CIDR form, if any are wanted.
	Addresses []string `json:"addresses,omitempty"`
	// NetNS is the path of the workload's network namespace.
	NetNS string `json:"netns,omitempty"`
}

// AttachmentStatus is the observed state of an Attachment.
type AttachmentStatus struct {
	Status
	// Interface is absent while there is none.
	Interface *AttachedInterface `json:"interface,omitempty"`
	// Legs are the connections to the endpoints of the network service.
	Legs []Leg `json:"legs,omitempty"`
	// LastError is the newest error of any leg that still stands.
	LastError string `json:"last-error,omitempty"`
	// Target is the stable name of the workload in the balancers' tables.
	Target string `json:"target,omitempty"`
	// NetNS is where the namespace can be reached now.
	NetNS string `json:"netns,omitempty"`
	// NetNSID is the identity of the namespace: device, inode and cookie.
	NetNSID string `json:"netns-id,omitempty"`
}

// AttachedInterface is the interface in the workload's namespace.
type AttachedInterface struct {
	Name  string `json:"name"`
	Index int    `json:"index"`
	MAC   string `json:"mac"`
	MTU   int    `json:"mtu,omitempty"`
	// Addresses are those of the legs, with prefix length.
	Addresses []string `json:"addresses,omitempty"`
	// Vips are the service addresses, with prefix length.
	Vips []string `json:"vips,omitempty"`
}

// Leg is one NSM connection of an attachment.
type Leg struct {
	Endpoint     string    `json:"endpoint"`
	State        string    `json:"state"`
	ConnectionID string    `json:"connection-id,omitempty"`
	Since        time.Time `json:"since,omitzero"`
	LastError    string    `json:"last-error,omitempty"`
	RetryAt      time.Time `json:"retry-at,omitzero"`
}

// GetType implements Object.
func (o *Attachment) GetType() *TypeMeta { return &o.TypeMeta }

// GetMeta implements Object.
func (o *Attachment) GetMeta() *ObjectMeta { return &o.Metadata }

// GetStatus implements Object.
func (o *Attachment) GetStatus() *Status { return &o.Status.Status }
