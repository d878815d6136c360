// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"go.yaml.in/yaml/v3"

	"github.com/weft-project/weft/pkg/apis/v1alpha1"
)

// dialect is the API version that a manifest was written for.
type dialect int

const (
	dialectWeft dialect = iota
	dialectMeridioV1
	dialectMeridioV1alpha1
)

const meridioGroup = "meridio.nordix.org"

var dialects = map[string]dialect{
	v1alpha1.APIVersion:        dialectWeft,
	meridioGroup + "/v1":       dialectMeridioV1,
	meridioGroup + "/v1alpha1": dialectMeridioV1alpha1,
}

// unknownField reports a field that the type does not have, with the best hint
// there is.
func (d *nodeDecoder) unknownField(k *yaml.Node, path string, known []string) {
	field := joinPath(path, k.Value)
	if hint, ok := retired[d.doc.Object.GetType().Kind+" "+field]; ok && d.doc.dialect == dialectMeridioV1alpha1 {
		if hint.ignored {
			d.reader.report(d.key, k.Line, field, "ignored: %s", hint.text)
			d.reader.problems[len(d.reader.problems)-1].Warning = true
			return
		}
		d.fail(k, field, "this field was only in early drafts of %s/v1alpha1; %s", meridioGroup, hint.text)
		return
	}
	if !d.inDialect(field) {
		d.fail(k, field, "unknown field; only %s has it", v1alpha1.APIVersion)
		return
	}
	d.fail(k, field, "unknown field%s", didYouMean(k.Value, known))
}

// added are fields that Meridio's kinds do not have.
var added = map[string]bool{
	"Conduit spec.mss-clamp":             true,
	"Conduit spec.affinity":              true,
	"Stream spec.table-size":             true,
	"Flow spec.target-port":              true,
	"Attractor spec.graceful-restart":    true,
	"Attractor spec.router-id":           true,
	"Gateway spec.bgp.ttl-security":      true,
	"Gateway spec.bgp.multihop":          true,
	"Gateway spec.bgp.extended-next-hop": true,
	"Gateway spec.bgp.bfd.strict":        true,
	"Gateway spec.bgp.bfd.multihop":      true,
	"Gateway spec.bgp.bfd.auth":          true,
	"Gateway spec.static.bfd.multihop":   true,
	"Gateway spec.static.bfd.auth":       true,
}

// inDialect reports whether the manifest's version has the field, if its kind
// does.
func (d *nodeDecoder) inDialect(field string) bool {
	return d.doc.dialect == dialectWeft || !added[d.doc.Object.GetType().Kind+" "+field]
}

type retiredField struct {
	ignored bool
	text    string
}

// retired are fields of Meridio's v1alpha1 that its later releases dropped.
var retired = map[string]retiredField{
	"Conduit spec.replicas":         {true, "the number of frontends is the attractor's spec.replicas"},
	"Attractor spec.vlan-id":        {false, "write spec.interface.nsm-vlan.vlan-id"},
	"Attractor spec.vlan-interface": {false, "write spec.interface.nsm-vlan.base-interface"},
	"Gateway spec.asn":              {false, "write spec.bgp.remote-asn"},
	"Gateway spec.hold-time":        {false, "write spec.bgp.hold-time"},
	"Gateway spec.bfd":              {false, "write spec.bgp.bfd.switch or spec.static.bfd.switch"},
}
