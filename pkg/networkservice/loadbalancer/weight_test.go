// SPDX-License-Identifier: Apache-2.0

package loadbalancer_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/weft-project/weft/pkg/networkservice/extracontext"
)

// TestWeightAndDrain: labels give the first ones, the extra context others
// later; the answer is the same.
func TestWeightAndDrain(t *testing.T) {
	f := start(t)
	r := request("web")
	r.Connection.Labels = map[string]string{"weight": "7", "drain": "true"}
	conn := f.request(r)
	if target := f.balancer.targets["1"]; *target.Weight != 7 || !target.Draining {
		t.Errorf("by labels: weight %d, draining %v", *target.Weight, target.Draining)
	}
	r = again(conn, "web")
	extracontext.SetWeight(r.Connection, 0)
	extracontext.SetDrain(r.Connection, false)
	changed := f.request(r)
	if target := f.balancer.targets["1"]; *target.Weight != 0 || target.Draining || len(target.Hold) != 0 {
		t.Errorf("by extra context: weight %d, draining %v, held from %v", *target.Weight, target.Draining, target.Hold)
	}
	if diff := cmp.Diff(conn.GetContext().GetIpContext(), changed.GetContext().GetIpContext(), protocmp.Transform()); diff != "" {
		t.Errorf("a weight changes addresses: %s", diff)
	}
}
