// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"strings"

	"github.com/weft-project/weft/pkg/apis/v1alpha1"
)

// setDefaults fills in what a manifest left out. The values are Meridio's.
func setDefaults(o v1alpha1.Object) {
	switch o := o.(type) {
	case *v1alpha1.Trench:
		setDefault(&o.Spec.IPFamily, v1alpha1.Dualstack)
	case *v1alpha1.Conduit:
		setDefault(&o.Spec.Type, v1alpha1.StatelessLB)
		if a := o.Spec.Affinity; a != nil && a.MaxFlows == 0 {
			o.Spec.Affinity = nil
		}
	case *v1alpha1.Stream:
		setDefaultPtr(&o.Spec.MaxTargets, v1alpha1.DefaultMaxTargets)
	case *v1alpha1.Attractor:
		setDefaultPtr(&o.Spec.Replicas, 1)
		setDefault(&o.Spec.Interface.Type, v1alpha1.InterfaceNSMVlan)
		if v := o.Spec.Interface.NSMVlan; v != nil && *v == (v1alpha1.NSMVlan{}) {
			o.Spec.Interface.NSMVlan = nil
		}
		for i := range o.Spec.Interface.NetworkAttachments {
			setDefault(&o.Spec.Interface.NetworkAttachments[i].Namespace, v1alpha1.DefaultNamespace)
		}
	case *v1alpha1.Gateway:
		defaultGateway(&o.Spec)
	}
}

func defaultGateway(spec *v1alpha1.GatewaySpec) {
	spec.Protocol = strings.ToLower(spec.Protocol)
	setDefault(&spec.Protocol, v1alpha1.ProtocolBGP)
	// An empty block means the same as none.
	if spec.BGP != nil && isEmptyBGP(spec.BGP) {
		spec.BGP = nil
	}
	if spec.Static != nil && isEmptyBFD(spec.Static.BFD) {
		spec.Static = nil
	}
	switch spec.Protocol {
	case v1alpha1.ProtocolBGP:
		if spec.BGP == nil {
			spec.BGP = &v1alpha1.BGP{}
		}
		setDefault(&spec.BGP.HoldTime, v1alpha1.DefaultBGPHoldTime)
		setDefaultPtr(&spec.BGP.LocalPort, v1alpha1.DefaultBGPPort)
		setDefaultPtr(&spec.BGP.RemotePort, v1alpha1.DefaultBGPPort)
		defaultBFD(&spec.BGP.BFD, false, v1alpha1.DefaultBFDBGPTimer)
	case v1alpha1.ProtocolStatic:
		if spec.Static == nil {
			spec.Static = &v1alpha1.Static{}
		}
		defaultBFD(&spec.Static.BFD, true, v1alpha1.DefaultBFDTimer)
	}
}

// defaultBFD sets the switch, and the timers if it is on.
func defaultBFD(bfd **v1alpha1.BFD, on bool, timer string) {
	if *bfd == nil {
		*bfd = &v1alpha1.BFD{}
	}
	b := *bfd
	setDefaultPtr(&b.Switch, on)
	if !*b.Switch {
		return
	}
	setDefault(&b.MinTx, timer)
	setDefault(&b.MinRx, timer)
	setDefaultPtr(&b.Multiplier, v1alpha1.DefaultBFDMultiplier)
	if b.Auth != nil && (*b.Auth == (v1alpha1.BFDAuth{}) || *b.Auth == (v1alpha1.BFDAuth{Type: v1alpha1.BFDAuthNone})) {
		b.Auth = nil
	}
	if b.Auth != nil {
		setDefault(&b.Auth.Type, v1alpha1.BFDAuthNone)
	}
}

func isEmptyBFD(b *v1alpha1.BFD) bool { return b == nil || *b == (v1alpha1.BFD{}) }

func isEmptyBGP(b *v1alpha1.BGP) bool {
	c := *b
	if !isEmptyBFD(c.BFD) {
		return false
	}
	c.BFD = nil
	return c == (v1alpha1.BGP{})
}

func setDefault(s *string, value string) {
	if *s == "" {
		*s = value
	}
}

func setDefaultPtr[T any](p **T, value T) {
	if *p == nil {
		*p = &value
	}
}
