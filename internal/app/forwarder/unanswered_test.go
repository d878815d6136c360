// SPDX-License-Identifier: Apache-2.0

package forwarder_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/weft-project/weft/internal/app/mesh"
	"github.com/weft-project/weft/internal/testutil"
)

// unanswered is a request of a client that knows nothing but the id that it has
// chosen: it was killed before it had, or had stored, an answer.
func unanswered(workload string) *networkservice.NetworkServiceRequest {
	r := ask("begun", workload, "nsm-1")
	r.Connection.NetworkServiceEndpointName = "nse-1"
	r.Connection.Path = &networkservice.Path{PathSegments: []*networkservice.PathSegment{{Name: "nsc", Id: "begun"}}}
	return r
}

func pathOf(conn *networkservice.Connection) (ids []string) {
	for _, segment := range conn.GetPath().GetPathSegments()[:5] { // without that of the test's endpoint
		ids = append(ids, segment.GetId())
	}
	return ids
}

// TestUnanswered: who asks again gets the connection that was begun, and who
// closes it leaves nothing on either node, whether the components of the own node
// have been restarted or not.
func TestUnanswered(t *testing.T) {
	testutil.CheckLeaks(t)
	a, b := newPair(t, func(a, b *world) {
		a.node.pinDir, b.node.pinDir = testutil.PinDir(t), testutil.PinDir(t)
	})
	endpointNS, _ := b.endpoint("nse-1", "10.9.0.0/24")
	workload := testutil.NetNS(t)
	cc, err := mesh.Dial(a.manager, mesh.Security{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cc.Close() }()
	c := networkservice.NewNetworkServiceClient(cc)
	restart := func() {
		for _, err := range []error{a.forwarder.Stop(), a.mesh.Stop()} {
			if err != nil {
				t.Fatal(err)
			}
		}
		a.startMesh()
		a.startForwarder()
	}
	for _, restarted := range []bool{false, true} {
		first := found(t, c, unanswered(workload))
		had := append(links(t, workload), links(t, endpointNS)...)
		if restarted {
			restart()
		}
		again := found(t, c, unanswered(workload))
		if !slices.Equal(pathOf(first), pathOf(again)) {
			t.Errorf("restarted %t: path %v, asked again %v", restarted, pathOf(first), pathOf(again))
		}
		if got := append(links(t, workload), links(t, endpointNS)...); !slices.Equal(had, got) {
			t.Errorf("restarted %t: interfaces %v, asked again %v", restarted, had, got)
		}
		if restarted {
			restart()
		}
		r := unanswered(workload)
		r.Connection.Mechanism = r.MechanismPreferences[0]
		testutil.Eventually(t, 60*time.Second, "the close to succeed", func() bool {
			ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
			defer cancel()
			_, err := c.Close(ctx, r.Connection.Clone())
			return err == nil
		})
		for _, ns := range []string{workload, endpointNS} {
			if got := links(t, ns); len(got) != 1 {
				t.Errorf("restarted %t: after close: %v", restarted, got)
			}
		}
	}
	for _, w := range []*world{a, b} {
		w.forwarder.Stitcher().Close(false)
	}
}
