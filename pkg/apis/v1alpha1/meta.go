// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import "time"

const (
	// Group is the API group of all kinds.
	Group = "weft.dev"
	// Version is the version of all kinds in this package.
	Version = "v1alpha1"
	// APIVersion is what a manifest says in apiVersion.
	APIVersion = Group + "/" + Version
	// LabelTrench is the label that says which trench an object belongs to.
	LabelTrench = "trench"
	// DefaultNamespace is the namespace of objects that name none.
	DefaultNamespace = "default"
)

// TypeMeta says what an object is.
type TypeMeta struct {
	APIVersion string `json:"apiVersion,omitempty"`
	Kind       string `json:"kind,omitempty"`
}

// ObjectMeta is the part of Kubernetes' object metadata that has a meaning
// here too.
type ObjectMeta struct {
	Name        string            `json:"name"`
	Namespace   string            `json:"namespace,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	// Generation grows by one with every change of the spec.
	Generation int64 `json:"generation,omitempty"`
}

// Trench returns the trench that the object belongs to.
func (m *ObjectMeta) Trench() string { return m.Labels[LabelTrench] }

// Condition types. A condition that does not apply to a kind is absent.
const (
	// ConditionAccepted says that the object is valid by itself and in the set.
	ConditionAccepted = "Accepted"
	// ConditionResolvedRefs says that everything the object names exists.
	ConditionResolvedRefs = "ResolvedRefs"
	// ConditionProgrammed says that the data path carries out the object.
	ConditionProgrammed = "Programmed"
	// ConditionReady says that the object serves its purpose now.
	ConditionReady = "Ready"
	// ConditionAnnounced says that gateways are told to send a Vip's traffic.
	ConditionAnnounced = "Announced"
	// ConditionBGPEstablished says that the BGP sessions with a Gateway are.
	ConditionBGPEstablished = "BGPEstablished"
	// ConditionBFDUp says that the BFD sessions with a Gateway are up.
	ConditionBFDUp = "BFDUp"
)

// Reasons of conditions.
const (
	ReasonAccepted     = "Accepted"
	ReasonResolvedRefs = "ResolvedRefs"
	ReasonNotSet       = "ReferenceNotSet"
	ReasonProgrammed   = "Programmed"
	ReasonPending      = "Pending"
	ReasonReady        = "Ready"
	ReasonUp           = "Up"
	ReasonDown         = "Down"
	ReasonNoReplica    = "NoReplica"
	ReasonSecret       = "SecretMissing"
)

// ConditionStatus is True, False or Unknown.
type ConditionStatus string

// The values of ConditionStatus.
const (
	ConditionTrue    ConditionStatus = "True"
	ConditionFalse   ConditionStatus = "False"
	ConditionUnknown ConditionStatus = "Unknown"
)

// Condition is one observation about an object, as in Kubernetes.
type Condition struct {
	Type   string          `json:"type"`
	Status ConditionStatus `json:"status"`
	// ObservedGeneration is the generation the observation is about.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// LastTransitionTime is when Status last changed.
	LastTransitionTime time.Time `json:"lastTransitionTime,omitzero"`
	Reason             string    `json:"reason"`
	Message            string    `json:"message"`
}

// Status is what is observed about an object.
type Status struct {
	ObservedGeneration int64       `json:"observedGeneration,omitempty"`
	Conditions         []Condition `json:"conditions,omitempty"`
}

// Condition returns the condition of a type, or nil.
func (s *Status) Condition(conditionType string) *Condition {
	for i := range s.Conditions {
		if s.Conditions[i].Type == conditionType {
			return &s.Conditions[i]
		}
	}
	return nil
}
