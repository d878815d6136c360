// SPDX-License-Identifier: Apache-2.0

package weft

import (
	"strings"

	"github.com/weft-project/weft/internal/cli"
	"github.com/weft-project/weft/pkg/apis/v1alpha1"
)

// columns are what a kind shows between its name and its conditions.
type columns struct {
	header, wide []string
	cells        func(o v1alpha1.Object) (normal, wide []cli.Cell)
}

var columnsOf = map[string]columns{
	v1alpha1.KindTrench: {[]string{"IP-FAMILY"}, nil, func(o v1alpha1.Object) ([]cli.Cell, []cli.Cell) {
		return []cli.Cell{cli.Text(o.(*v1alpha1.Trench).Spec.IPFamily)}, nil
	}},
	v1alpha1.KindConduit: {[]string{"TYPE"}, []string{"PORT-NATS", "MSS-CLAMP", "AFFINITY"}, func(o v1alpha1.Object) ([]cli.Cell, []cli.Cell) {
		spec := o.(*v1alpha1.Conduit).Spec
		var nats []string
		for _, n := range spec.DestinationPortNats {
			nats = append(nats, cli.Textf("%s/%d->%d", n.Protocol, n.Port, n.TargetPort).Text)
		}
		clamp, affinity := "off", "off"
		if spec.MSSClamp {
			clamp = "on"
		}
		if spec.Affinity != nil {
			affinity = cli.Textf("%d flows", spec.Affinity.MaxFlows).Text
		}
		return []cli.Cell{cli.Text(spec.Type)}, []cli.Cell{cli.List(nats), cli.Text(clamp), cli.Text(affinity)}
	}},
	v1alpha1.KindStream: {[]string{"CONDUIT", "MAX-TARGETS"}, []string{"TABLE-SIZE"}, func(o v1alpha1.Object) ([]cli.Cell, []cli.Cell) {
		spec := o.(*v1alpha1.Stream).Spec
		return []cli.Cell{cli.Text(spec.Conduit), number(spec.MaxTargets)}, []cli.Cell{number(spec.TableSize)}
	}},
	v1alpha1.KindVip: {[]string{"ADDRESS"}, nil, func(o v1alpha1.Object) ([]cli.Cell, []cli.Cell) {
		return []cli.Cell{cli.Text(o.(*v1alpha1.Vip).Spec.Address)}, nil
	}},
	v1alpha1.KindFlow: {
		[]string{"STREAM", "PRIORITY", "VIPS", "PROTOCOLS", "DST-PORTS"},
		[]string{"TARGET-PORT", "SRC-SUBNETS", "SRC-PORTS", "BYTE-MATCHES"},
		func(o v1alpha1.Object) ([]cli.Cell, []cli.Cell) {
			spec := o.(*v1alpha1.Flow).Spec
			return []cli.Cell{
				cli.Text(spec.Stream), cli.Textf("%d", spec.Priority), cli.List(spec.Vips),
				cli.List(spec.Protocols), cli.List(spec.DestinationPorts),
			}, []cli.Cell{port(spec.TargetPort), cli.List(spec.SourceSubnets), cli.List(spec.SourcePorts), cli.List(spec.ByteMatches)}
		},
	},
	v1alpha1.KindGateway: {[]string{"ADDRESS", "PROTOCOL"}, []string{"BFD"}, func(o v1alpha1.Object) ([]cli.Cell, []cli.Cell) {
		spec := o.(*v1alpha1.Gateway).Spec
		return []cli.Cell{cli.Text(spec.Address), cli.Text(spec.Protocol)}, []cli.Cell{cli.Text(describeBFD(&spec))}
	}},
	v1alpha1.KindAttractor: {
		[]string{"CONDUIT", "INTERFACE", "GATEWAYS", "VIPS"},
		[]string{"TYPE", "IPV4-PREFIX", "IPV6-PREFIX", "REPLICAS"},
		func(o v1alpha1.Object) ([]cli.Cell, []cli.Cell) {
			spec := o.(*v1alpha1.Attractor).Spec
			return []cli.Cell{
				cli.List(spec.Composites), cli.Text(spec.Interface.Name), cli.List(spec.Gateways), cli.List(spec.Vips),
			}, []cli.Cell{cli.Text(spec.Interface.Type), cli.Text(spec.Interface.PrefixIPv4), cli.Text(spec.Interface.PrefixIPv6), number(spec.Replicas)}
		},
	},
}

// stateOf is the condition that says most about objects of a kind as they run.
var stateOf = map[string]string{
	v1alpha1.KindVip: v1alpha1.ConditionAnnounced, v1alpha1.KindGateway: v1alpha1.ConditionReady, v1alpha1.KindAttractor: v1alpha1.ConditionReady,
}

func number[T int32 | uint32](n *T) cli.Cell {
	if n == nil {
		return cli.Text("")
	}
	return cli.Textf("%d", *n)
}

// port shows a port that may be absent.
func port(n uint16) cli.Cell {
	if n == 0 {
		return cli.Text("")
	}
	return cli.Textf("%d", n)
}

func describeBFD(spec *v1alpha1.GatewaySpec) string {
	var bfd *v1alpha1.BFD
	switch {
	case spec.BGP != nil:
		bfd = spec.BGP.BFD
	case spec.Static != nil:
		bfd = spec.Static.BFD
	}
	if bfd == nil || bfd.Switch == nil || !*bfd.Switch {
		return "off"
	}
	return strings.Join([]string{"tx", bfd.MinTx, "rx", bfd.MinRx, "x" + number32(bfd.Multiplier)}, " ")
}

func number32(n *uint16) string {
	if n == nil {
		return "?"
	}
	return cli.Textf("%d", *n).Text
}

// resourceTable shows objects of one kind.
func resourceTable(kind string, objects []v1alpha1.Object, wide bool) *cli.Table {
	c := columnsOf[kind]
	trenched := kind != v1alpha1.KindTrench
	t := &cli.Table{Header: []string{"NAMESPACE", strings.ToUpper(kind)}}
	if trenched {
		t.Header = append(t.Header, "TRENCH")
	}
	t.Header = append(t.Header, c.header...)
	condition := v1alpha1.ConditionProgrammed
	if kind == v1alpha1.KindTrench {
		condition = v1alpha1.ConditionAccepted
	}
	if wide {
		t.Header = append(t.Header, c.wide...)
	}
	state := stateOf[kind]
	if state != "" {
		t.Header = append(t.Header, strings.ToUpper(state))
	}
	t.Header = append(t.Header, strings.ToUpper(condition))
	if wide {
		t.Header = append(t.Header, "MESSAGE")
	}
	for _, o := range objects {
		m := o.GetMeta()
		row := []cli.Cell{cli.Text(m.Namespace), cli.Text(m.Name)}
		if trenched {
			row = append(row, cli.Text(m.Trench()))
		}
		normal, extra := c.cells(o)
		row = append(row, normal...)
		if wide {
			row = append(row, extra...)
		}
		if state != "" {
			row = append(row, conditionCell(o.GetStatus(), state))
		}
		row = append(row, conditionCell(o.GetStatus(), condition))
		if wide {
			row = append(row, cli.Text(messages(o.GetStatus())))
		}
		t.Add(row...)
	}
	return t
}

// conditionCell shows the status of a condition, and its reason when it is not
// True.
func conditionCell(s *v1alpha1.Status, conditionType string) cli.Cell {
	c := s.Condition(conditionType)
	if c == nil {
		return cli.Text("")
	}
	switch c.Status {
	case v1alpha1.ConditionTrue:
		return cli.Cell{Text: string(c.Status), Style: cli.Good}
	case v1alpha1.ConditionFalse:
		return cli.Cell{Text: string(c.Status) + " (" + c.Reason + ")", Style: cli.Bad}
	}
	return cli.Cell{Text: string(c.Status) + " (" + c.Reason + ")", Style: cli.Pending}
}

// messages joins what the conditions that are not True say.
func messages(s *v1alpha1.Status) string {
	var out []string
	for _, c := range s.Conditions {
		if c.Status != v1alpha1.ConditionTrue && c.Message != "" {
			out = append(out, c.Message)
		}
	}
	return strings.Join(out, "; ")
}
