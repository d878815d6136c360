// SPDX-License-Identifier: Apache-2.0

package forwarder_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/weft-project/weft/internal/testutil"
)

func addresses(t testing.TB, conn *networkservice.Connection) (src, dst string) {
	t.Helper()
	ip := conn.GetContext().GetIpContext()
	if len(ip.GetSrcIPNets()) == 0 || len(ip.GetDstIPNets()) == 0 {
		t.Fatalf("no addresses in %v", ip)
	}
	return ip.GetSrcIPNets()[0].IP.String(), ip.GetDstIPNets()[0].IP.String()
}

func links(t testing.TB, ns string) []string {
	t.Helper()
	all, err := testutil.Handle(t, ns).Links()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range all {
		names = append(names, l.Name)
	}
	return names
}

func TestConnectRefreshClose(t *testing.T) {
	testutil.CheckLeaks(t)
	w := newWorld(t)
	endpointNS, _ := w.endpoint("nse-1", "10.9.0.0/24")
	workload := testutil.NetNS(t)
	for name, elements := range map[string][]networkservice.NetworkServiceClient{
		"descriptor": {passing()},
		"path":       nil,
	} {
		t.Run(name, func(t *testing.T) {
			c := w.client("nsc-"+name, elements...)
			conn := request(t, c, ask("c1-"+name, workload, "nsm-1"))
			src, dst := addresses(t, conn)
			testutil.MustExchange(t, workload, "tcp", "", testutil.Echo(t, endpointNS, dst+":0"))
			testutil.MustExchange(t, endpointNS, "udp", "", testutil.Echo(t, workload, src+":0"))

			before := testutil.Link(t, workload, "nsm-1")
			outer := links(t, w.outside)
			refreshed := request(t, c, &networkservice.NetworkServiceRequest{Connection: conn.Clone()})
			if again, _ := addresses(t, refreshed); again != src {
				t.Errorf("address %s after refresh, %s before", again, src)
			}
			if diff := cmp.Diff(before, testutil.Link(t, workload, "nsm-1")); diff != "" {
				t.Errorf("refresh changed the interface:\n%s", diff)
			}
			if diff := cmp.Diff(outer, links(t, w.outside)); diff != "" {
				t.Errorf("refresh changed the outer ends:\n%s", diff)
			}
			testutil.MustExchange(t, workload, "udp", "", testutil.Echo(t, endpointNS, dst+":0"))

			closeConn(t, c, conn)
			for _, ns := range []string{workload, endpointNS, w.outside} {
				if diff := cmp.Diff([]string{"lo"}, links(t, ns)); diff != "" {
					t.Errorf("after close in %s:\n%s", ns, diff)
				}
			}
		})
	}
}
