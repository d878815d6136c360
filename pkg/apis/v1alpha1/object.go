// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import "strings"

// Object is any resource of this package.
type Object interface {
	// GetType returns apiVersion and kind.
	GetType() *TypeMeta
	// GetMeta returns the metadata.
	GetMeta() *ObjectMeta
	// GetStatus returns the part of the status that all kinds have.
	GetStatus() *Status
}

// The kinds.
const (
	KindTrench     = "Trench"
	KindConduit    = "Conduit"
	KindStream     = "Stream"
	KindFlow       = "Flow"
	KindVip        = "Vip"
	KindAttractor  = "Attractor"
	KindGateway    = "Gateway"
	KindAttachment = "Attachment"
)

// KindInfo describes one kind.
type KindInfo struct {
	Kind string
	// Plural is the lower-case plural, as kubectl takes it.
	Plural string
	// New returns an empty object of the kind with its type set.
	New func() Object
}

// kinds are those that a set of resources consists of, in the order in which
// objects are listed: what others refer to comes first. An Attachment is wanted
// and kept by the agent of its node, not in the set.
var kinds = []KindInfo{
	{KindTrench, "trenches", func() Object { return &Trench{TypeMeta: typeMeta(KindTrench)} }},
	{KindConduit, "conduits", func() Object { return &Conduit{TypeMeta: typeMeta(KindConduit)} }},
	{KindStream, "streams", func() Object { return &Stream{TypeMeta: typeMeta(KindStream)} }},
	{KindVip, "vips", func() Object { return &Vip{TypeMeta: typeMeta(KindVip)} }},
	{KindFlow, "flows", func() Object { return &Flow{TypeMeta: typeMeta(KindFlow)} }},
	{KindGateway, "gateways", func() Object { return &Gateway{TypeMeta: typeMeta(KindGateway)} }},
	{KindAttractor, "attractors", func() Object { return &Attractor{TypeMeta: typeMeta(KindAttractor)} }},
}

func typeMeta(kind string) TypeMeta { return TypeMeta{APIVersion: APIVersion, Kind: kind} }

// Kinds returns the kinds of a set of resources, those that others refer to
// first. Attachment is not one of them.
func Kinds() []KindInfo { return append([]KindInfo(nil), kinds...) }

// LookupKind finds a kind by its exact name, as manifests spell it.
func LookupKind(kind string) (KindInfo, bool) {
	for _, k := range kinds {
		if k.Kind == kind {
			return k, true
		}
	}
	return KindInfo{}, false
}

// ParseKind finds a kind as a user types it: any case, singular or plural.
func ParseKind(s string) (KindInfo, bool) {
	for _, k := range kinds {
		if strings.EqualFold(k.Kind, s) || strings.EqualFold(k.Plural, s) {
			return k, true
		}
	}
	return KindInfo{}, false
}
