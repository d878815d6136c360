// SPDX-License-Identifier: Apache-2.0

package forwarder

import (
	"context"
	"errors"

	"github.com/weft-project/weft/internal/nodecheck"
	"github.com/weft-project/weft/internal/stitch"
	"github.com/weft-project/weft/internal/trunk"
)

// CheckPart returns the forwarder as a part of the node that can be checked.
func (c *Component) CheckPart() nodecheck.Part {
	return nodecheck.Part{Name: "forwarder", Checker: checker{c.stitcher, c.trunk}}
}

type checker struct {
	stitcher *stitch.Stitcher
	trunk    *trunk.Trunk
}

// Check implements nodecheck.Checker.
func (c checker) Check(ctx context.Context, repair bool) ([]nodecheck.Finding, error) {
	differences, err := c.stitcher.Check(ctx, repair)
	findings := make([]nodecheck.Finding, 0, len(differences))
	for _, d := range differences {
		findings = append(findings, finding(d))
	}
	vlans, vlanErr := c.trunk.Check(repair)
	for _, d := range vlans {
		findings = append(findings, vlanFinding(d))
	}
	return findings, errors.Join(err, vlanErr)
}

func vlanFinding(d trunk.Difference) nodecheck.Finding {
	f := nodecheck.Finding{
		Kind: "vlan", Severity: nodecheck.Error, Object: "interface " + d.Interface, Message: d.Problem, Repaired: d.Repaired,
	}
	if d.Conn != "" {
		f.Message = "connection " + d.Conn + ": " + d.Problem
	}
	if d.Stray {
		f.Severity = nodecheck.Warning
	}
	return f
}

func finding(d stitch.Difference) nodecheck.Finding {
	f := nodecheck.Finding{
		Kind: string(d.Kind), Severity: nodecheck.Error, Object: "interface " + d.Interface,
		Message: d.Problem, Repaired: d.Repaired,
	}
	if d.Conn != "" {
		f.Message = "leg " + d.Conn + ": " + d.Problem
	}
	switch d.Kind {
	case stitch.KindPin:
		f.Object, f.Severity = "pin "+d.Interface, nodecheck.Warning
	case stitch.KindStray:
		f.Severity = nodecheck.Warning
	}
	return f
}
