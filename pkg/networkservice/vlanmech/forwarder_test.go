// SPDX-License-Identifier: Apache-2.0

package vlanmech_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/cls"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"
	vlanapi "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/vlan"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/weft-project/weft/internal/trunk"
	"github.com/weft-project/weft/pkg/dataplane/vlan"
)

func TestOrder(t *testing.T) {
	f := newFixture()
	var conn *networkservice.Connection
	request := ask()
	for range 2 {
		var err error
		if conn, err = f.server.Request(t.Context(), request); err != nil {
			t.Fatal(err)
		}
		f.want(t, "request", "connect a")
		if conn.GetMechanism().GetType() != kernel.MECHANISM {
			t.Errorf("the client's mechanism is %v", conn.GetMechanism())
		}
		request = &networkservice.NetworkServiceRequest{Connection: conn}
	}
	// A refresh tells the endpoint what it has chosen, and so does Close.
	if !proto.Equal(f.endpoint.request.GetConnection().GetMechanism(), f.endpoint.answer) {
		t.Errorf("a refresh has the mechanism %v", f.endpoint.request.GetConnection().GetMechanism())
	}
	for i := range 2 {
		if _, err := f.server.Close(t.Context(), conn); err != nil {
			t.Fatal(err)
		}
		f.want(t, "close", "disconnect a")
		if i == 0 && !proto.Equal(f.endpoint.closing.GetMechanism(), f.endpoint.answer) {
			t.Errorf("Close has the mechanism %v", f.endpoint.closing.GetMechanism())
		}
	}
}

// The mechanism is offered beside others; the request of the caller stays as it is.
func TestOffer(t *testing.T) {
	f := newFixture()
	request := ask()
	request.MechanismPreferences = []*networkservice.Mechanism{{Cls: cls.LOCAL, Type: kernel.MECHANISM}}
	if _, err := f.server.Request(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	offers := f.endpoint.request.GetMechanismPreferences()
	if len(offers) != 2 || offers[1].GetType() != vlanapi.MECHANISM || offers[1].GetCls() != cls.REMOTE {
		t.Errorf("offers %v", offers)
	}
	if len(request.GetMechanismPreferences()) != 1 {
		t.Errorf("the caller's request has become %v", request)
	}
}

func TestPort(t *testing.T) {
	f := newFixture()
	f.endpoint.fill = func(conn *networkservice.Connection) {
		conn.Context = &networkservice.ConnectionContext{
			IpContext:       &networkservice.IPContext{SrcIpAddrs: []string{"10.9.0.2/24", "fd09::2/64"}},
			EthernetContext: &networkservice.EthernetContext{SrcMac: "02:00:00:00:00:0a"},
			MTU:             1400,
		}
	}
	if _, err := f.server.Request(t.Context(), ask()); err != nil {
		t.Fatal(err)
	}
	want := trunk.Port{
		ID: "a", NetNS: "/run/netns/frontend", Interface: "ext0", Base: "eth1", VLAN: 100, MTU: 1400,
		MAC:       net.HardwareAddr{2, 0, 0, 0, 0, 10},
		Addresses: []netip.Prefix{netip.MustParsePrefix("10.9.0.2/24"), netip.MustParsePrefix("fd09::2/64")},
	}
	if diff := cmp.Diff(want, f.trunk.port, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Error(diff)
	}
}

// What the endpoint says of VLAN and base interface.
func TestAnswers(t *testing.T) {
	for name, tc := range map[string]struct {
		id, base, via string
		wantID        int
		wantBase      string
		err           string
	}{
		"untagged":         {id: "0", base: "eth1", wantBase: "eth1"},
		"no id":            {base: "eth1", wantBase: "eth1"},
		"highest":          {id: "4094", base: "eth1", wantID: 4094, wantBase: "eth1"},
		"via":              {id: "7", via: "gw1", wantID: 7, wantBase: "eth7"},
		"base before via":  {id: "7", base: "eth1", via: "gw1", wantID: 7, wantBase: "eth1"},
		"4095":             {id: "4095", base: "eth1", err: `answer of endpoint vlan-1: mechanism parameter vlan-id: "4095" is not between 0 and 4094`},
		"negative":         {id: "-1", base: "eth1", err: `mechanism parameter vlan-id: "-1"`},
		"no number":        {id: "x", base: "eth1", err: `mechanism parameter vlan-id: "x"`},
		"beyond 16 bits":   {id: "65636", base: "eth1", err: `mechanism parameter vlan-id: "65636"`},
		"no base":          {id: "7", err: `mechanism parameter base-interface is missing, and this forwarder has no interface for the label via=""`},
		"via that we lack": {id: "7", via: "gw9", err: `no interface for the label via="gw9"`},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture()
			f.endpoint.answer = answer(tc.id, tc.base)
			f.endpoint.fill = func(conn *networkservice.Connection) {
				if tc.via != "" {
					conn.Labels = map[string]string{"via": tc.via}
				}
			}
			_, err := f.server.Request(t.Context(), ask())
			if tc.err != "" {
				if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("%v, want %q", err, tc.err)
				}
				f.want(t, "request", "close") // nothing of it stays at the endpoint
				return
			}
			if err != nil || f.trunk.port.VLAN != tc.wantID || f.trunk.port.Base != tc.wantBase {
				t.Errorf("%v, port %+v", err, f.trunk.port)
			}
		})
	}
}

func TestMalformedContext(t *testing.T) {
	for name, tc := range map[string]struct {
		fill func(*networkservice.ConnectionContext)
		want string
	}{
		"address": {func(c *networkservice.ConnectionContext) {
			c.IpContext = &networkservice.IPContext{SrcIpAddrs: []string{"10.9.0.2/24", "fd09::2"}}
		}, `ip_context.src_ip_addrs[1] "fd09::2": want address/bits`},
		"MAC": {func(c *networkservice.ConnectionContext) {
			c.EthernetContext = &networkservice.EthernetContext{SrcMac: "here"}
		}, `ethernet_context.src_mac "here": want six bytes in hexadecimal`},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture()
			f.endpoint.fill = func(conn *networkservice.Connection) {
				conn.Context = &networkservice.ConnectionContext{}
				tc.fill(conn.Context)
			}
			_, err := f.server.Request(t.Context(), ask())
			if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
			f.want(t, "request", "close")
		})
	}
}

func TestNextFails(t *testing.T) {
	f := newFixture()
	f.endpoint.err = status.Error(codes.ResourceExhausted, "no free address")
	if _, err := f.server.Request(t.Context(), ask()); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("%v", err)
	}
	f.want(t, "request")
}

func TestTrunkFails(t *testing.T) {
	for reason, code := range map[error]codes.Code{
		trunk.ErrInvalid: codes.InvalidArgument, trunk.ErrNoNamespace: codes.NotFound, trunk.ErrNoBase: codes.FailedPrecondition,
		trunk.ErrVLANTaken: codes.FailedPrecondition, trunk.ErrNameTaken: codes.AlreadyExists,
		vlan.ErrMACTaken: codes.AlreadyExists, vlan.ErrTooManyPorts: codes.ResourceExhausted,
		context.DeadlineExceeded: codes.DeadlineExceeded, context.Canceled: codes.Canceled,
		errors.New("something else"): codes.Internal,
	} {
		f := newFixture()
		f.trunk.connect = fmt.Errorf("connect ext0: %w", reason)
		_, err := f.server.Request(t.Context(), ask())
		if status.Code(err) != code || !strings.Contains(err.Error(), "connect ext0: "+reason.Error()) {
			t.Errorf("%v becomes %v", reason, err)
		}
		f.want(t, "request", "connect a", "close")
		f.trunk.connect = nil
		if _, err := f.server.Request(t.Context(), ask()); err != nil {
			t.Errorf("the next request: %v", err)
		}
	}
}

func TestFailedUndoIsTold(t *testing.T) {
	f := newFixture()
	f.trunk.connect = trunk.ErrNameTaken
	f.endpoint.closed = errors.New("endpoint is gone")
	_, err := f.server.Request(t.Context(), ask())
	if status.Code(err) != codes.AlreadyExists || !strings.Contains(err.Error(), "endpoint is gone") {
		t.Errorf("%v", err)
	}
}

// The undo must not depend on the context that may have made the Request fail.
func TestUndoAfterTheContextEnded(t *testing.T) {
	for name, spoil := range map[string]func(f *fixture){
		"trunk":  func(f *fixture) { f.trunk.connect = context.Canceled },
		"answer": func(f *fixture) { f.endpoint.answer = answer("x", "eth1") },
	} {
		f := newFixture()
		spoil(f)
		ctx, cancel := context.WithCancel(t.Context())
		f.endpoint.fill = func(*networkservice.Connection) { cancel() }
		f.endpoint.closed = nil
		_, err := f.server.Request(ctx, ask())
		if err == nil || strings.Contains(err.Error(), "; close:") {
			t.Errorf("%s: %v", name, err)
		}
		if f.events[len(f.events)-1] != "close" {
			t.Errorf("%s: %v", name, f.events)
		}
	}
}

func TestFailedRefreshKeepsTheConnection(t *testing.T) {
	f := newFixture()
	if _, err := f.server.Request(t.Context(), ask()); err != nil {
		t.Fatal(err)
	}
	f.trunk.connect = trunk.ErrNoBase
	if _, err := f.server.Request(t.Context(), ask()); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("%v", err)
	}
	f.want(t, "request", "connect a", "request", "connect a")
	f.trunk.connect, f.endpoint.answer = nil, answer("x", "eth1")
	if _, err := f.server.Request(t.Context(), ask()); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("%v", err)
	}
	f.want(t, "request")
}

// An endpoint of another mechanism takes over: the interface in the VLAN goes.
func TestAnotherMechanism(t *testing.T) {
	f := newFixture()
	if _, err := f.server.Request(t.Context(), ask()); err != nil {
		t.Fatal(err)
	}
	f.endpoint.answer = &networkservice.Mechanism{Cls: cls.LOCAL, Type: kernel.MECHANISM}
	for range 2 {
		if _, err := f.server.Request(t.Context(), ask()); err != nil {
			t.Fatal(err)
		}
	}
	f.want(t, "request", "connect a", "request", "disconnect a", "request")
}

func TestCloseJoinsErrors(t *testing.T) {
	f := newFixture()
	f.trunk.disconnect = errors.New("disconnect failed")
	f.endpoint.closed = errors.New("close failed")
	_, err := f.server.Close(t.Context(), ask().GetConnection())
	for _, want := range []string{"close failed", "disconnect failed"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v misses %q", err, want)
		}
	}
	f.want(t, "close", "disconnect a")
}
