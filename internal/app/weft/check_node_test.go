// SPDX-License-Identifier: Apache-2.0

package weft

import (
	"errors"
	"testing"

	"github.com/weft-project/weft/internal/nodecheck"
)

func TestCheckNode(t *testing.T) {
	h := newHost(t)
	golden(t, "check_none", h, "check", "check -o json", "check --repair -f "+demo)
	h.node.findings = []nodecheck.Finding{
		{Kind: "address-missing", Severity: nodecheck.Error, Object: "attachment web", Wanted: "20.0.0.1/32", Recorded: "20.0.0.1/32", Actual: "none", Message: "interface nsm-1 has not the VIP 20.0.0.1"},
		{Kind: "address-extra", Severity: nodecheck.Note, Object: "attachment web", Recorded: "none", Actual: "192.0.2.1/32", Message: "interface nsm-1 has an address that no connection gave it"},
	}
	golden(t, "check", h, "check", "check -o wide", "check --repair", "check --repair -o yaml", "check -o json")
	h.node.err = errors.New("bpffs is not mounted")
	golden(t, "check_failing", h, "check --repair")
}
