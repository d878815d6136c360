// SPDX-License-Identifier: Apache-2.0

package leg_test

import (
	"context"
	"errors"
	"testing"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/cls"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/vxlan"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weft-project/weft/pkg/networkservice/leg"
)

var errInjected = errors.New("injected")

type failing struct{}

func (failing) Request(context.Context, *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	return nil, errInjected
}

func (failing) Close(context.Context, *networkservice.Connection) (*emptypb.Empty, error) {
	return nil, errInjected
}

func TestLeg(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	server := chain.NewNetworkServiceServer(leg.NewServer("/run/netns/lb-1"))
	request := &networkservice.NetworkServiceRequest{
		Connection: &networkservice.Connection{Id: "conn-1"},
		MechanismPreferences: []*networkservice.Mechanism{
			{Cls: cls.REMOTE, Type: vxlan.MECHANISM}, {Cls: cls.LOCAL, Type: kernel.MECHANISM},
		},
	}
	first, err := server.Request(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	name := kernel.ToMechanism(first.GetMechanism()).GetInterfaceName()
	if len(name) > 15 || name != leg.InterfaceName("conn-1") || name == leg.InterfaceName("conn-2") {
		t.Errorf("interface name %q", name)
	}
	if url := kernel.ToMechanism(first.GetMechanism()).GetNetNSURL(); url != "file:///run/netns/lb-1" {
		t.Errorf("namespace %q", url)
	}
	// The client's wishes about a live connection's mechanism do not move the leg.
	first.Mechanism.Parameters = map[string]string{"name": "nsm-1", "inodeURL": "file:///proc/1/ns/net"}
	again, err := server.Request(t.Context(), &networkservice.NetworkServiceRequest{Connection: first})
	if err != nil || kernel.ToMechanism(again.GetMechanism()).GetInterfaceName() != name {
		t.Errorf("second answer %v, %v", again.GetMechanism(), err)
	}
	for range 2 {
		if _, err := server.Close(t.Context(), again); err != nil {
			t.Error(err)
		}
	}
}

func TestOwnNamespace(t *testing.T) {
	conn, err := leg.NewServer("").Request(t.Context(), &networkservice.NetworkServiceRequest{
		Connection: &networkservice.Connection{Id: "1", Mechanism: kernel.New("")},
	})
	if url := kernel.ToMechanism(conn.GetMechanism()).GetNetNSURL(); err != nil || url != "file:///proc/self/ns/net" {
		t.Errorf("namespace %q, %v", url, err)
	}
}

func TestErrors(t *testing.T) {
	server := chain.NewNetworkServiceServer(leg.NewServer(""), failing{})
	for _, conn := range []*networkservice.Connection{{Id: "1"}, {Id: "1", Mechanism: &networkservice.Mechanism{Type: vxlan.MECHANISM}}} {
		if _, err := server.Request(t.Context(), &networkservice.NetworkServiceRequest{Connection: conn}); status.Code(err) != codes.InvalidArgument {
			t.Errorf("mechanism %v: %v", conn.GetMechanism(), err)
		}
	}
	conn := &networkservice.Connection{Id: "1", Mechanism: kernel.New("")}
	if _, err := server.Request(t.Context(), &networkservice.NetworkServiceRequest{Connection: conn}); !errors.Is(err, errInjected) {
		t.Error(err)
	}
	if _, err := server.Close(t.Context(), conn); !errors.Is(err, errInjected) {
		t.Error(err)
	}
}
