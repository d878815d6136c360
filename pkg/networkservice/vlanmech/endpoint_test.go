// SPDX-License-Identifier: Apache-2.0

package vlanmech_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/cls"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/vlan"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weft-project/weft/internal/addresses"
	"github.com/weft-project/weft/pkg/networkservice/extracontext"
	"github.com/weft-project/weft/pkg/networkservice/vlanmech"
)

// last is what is behind the endpoint's elements.
type last struct{ err, closed error }

func (l *last) Request(_ context.Context, r *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	return r.GetConnection(), l.err
}

func (l *last) Close(context.Context, *networkservice.Connection) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, l.closed
}

// newEndpoint has two addresses of each family.
func newEndpoint(t *testing.T, file string) (networkservice.NetworkServiceServer, *last) {
	t.Helper()
	pool, err := addresses.New(file, "10.9.0.2-10.9.0.3/24", "fd09::2-fd09::3/64")
	if err != nil {
		t.Fatal(err)
	}
	l := &last{}
	return chain.NewNetworkServiceServer(vlanmech.NewEndpointServer("eth1", 100), vlanmech.NewAddressServer(pool), l), l
}

// from asks for a connection of an owner.
func from(id, owner string) *networkservice.NetworkServiceRequest {
	conn := &networkservice.Connection{Id: id, Context: &networkservice.ConnectionContext{}}
	if owner != "" {
		extracontext.SetTarget(conn, owner)
	}
	return &networkservice.NetworkServiceRequest{Connection: conn, MechanismPreferences: []*networkservice.Mechanism{
		{Cls: cls.LOCAL, Type: kernel.MECHANISM}, {Cls: cls.REMOTE, Type: vlan.MECHANISM},
	}}
}

func given(t *testing.T, s networkservice.NetworkServiceServer, r *networkservice.NetworkServiceRequest) []string {
	t.Helper()
	conn, err := s.Request(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return conn.GetContext().GetIpContext().GetSrcIpAddrs()
}

func TestEndpointAnswers(t *testing.T) {
	s, _ := newEndpoint(t, "")
	r := from("a", "attr/lb-1")
	var conn *networkservice.Connection
	var first []string
	for range 2 {
		var err error
		if conn, err = s.Request(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if want := answer("100", "eth1"); !proto.Equal(conn.GetMechanism(), want) {
			t.Errorf("%v, want %v", conn.GetMechanism(), want)
		}
		now := conn.GetContext().GetIpContext().GetSrcIpAddrs()
		if first != nil && !slices.Equal(now, first) || len(now) != 2 {
			t.Errorf("addresses %v, before %v", now, first)
		}
		first, r = now, &networkservice.NetworkServiceRequest{Connection: conn}
	}
	for range 2 {
		if _, err := s.Close(t.Context(), conn); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEndpointWithoutTheMechanism(t *testing.T) {
	s, _ := newEndpoint(t, "")
	for name, spoil := range map[string]func(r *networkservice.NetworkServiceRequest){
		"no offer":      func(r *networkservice.NetworkServiceRequest) { r.MechanismPreferences = nil },
		"another class": func(r *networkservice.NetworkServiceRequest) { r.MechanismPreferences[1].Cls = cls.LOCAL },
		"chosen": func(r *networkservice.NetworkServiceRequest) {
			r.Connection.Mechanism = &networkservice.Mechanism{Cls: cls.LOCAL, Type: kernel.MECHANISM}
		},
	} {
		r := from("a", "")
		spoil(r)
		if _, err := s.Request(t.Context(), r); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Nothing was taken meanwhile.
	given(t, s, from("b", ""))
	given(t, s, from("c", ""))
}

// Connections of one owner share its addresses; the last one frees them.
func TestOwners(t *testing.T) {
	s, _ := newEndpoint(t, "")
	one, again, two := given(t, s, from("a", "attr/lb-1")), given(t, s, from("b", "attr/lb-1")), given(t, s, from("c", "attr/lb-2"))
	if !slices.Equal(one, again) || one[0] == two[0] || one[1] == two[1] {
		t.Errorf("addresses %v and %v of one owner, %v of another", one, again, two)
	}
	_, err := s.Request(t.Context(), from("d", "attr/lb-3"))
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("%v", err)
	}
	for i, id := range []string{"a", "b"} {
		if _, err := s.Close(t.Context(), from(id, "attr/lb-1").GetConnection()); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Request(t.Context(), from("d", "attr/lb-3")); (err == nil) != (i == 1) {
			t.Errorf("after %d of 2 are closed: %v", i+1, err)
		}
	}
}

// What a failed Request took is free again; a failed refresh keeps it.
func TestEndpointNextFails(t *testing.T) {
	s, l := newEndpoint(t, "")
	l.err = errors.New("injected")
	for _, id := range []string{"a", "b", "c"} {
		if _, err := s.Request(t.Context(), from(id, "")); !errors.Is(err, l.err) {
			t.Errorf("%v", err)
		}
	}
	l.err = nil
	mine := given(t, s, from("a", ""))
	l.err = errors.New("injected")
	if _, err := s.Request(t.Context(), from("a", "")); err == nil {
		t.Error("no error")
	}
	l.err = nil
	if other := given(t, s, from("b", "")); slices.Equal(other, mine) {
		t.Errorf("%v after a failed refresh of who holds it", other)
	}
	l.closed = errors.New("close failed")
	if _, err := s.Close(t.Context(), from("a", "").GetConnection()); !errors.Is(err, l.closed) {
		t.Errorf("%v", err)
	}
	given(t, s, from("c", ""))
}

func TestBadOwner(t *testing.T) {
	s, _ := newEndpoint(t, "")
	r := from("a", "")
	r.Connection.Context.ExtraContext = map[string]string{extracontext.TargetKey: "\x00"}
	if _, err := s.Request(t.Context(), r); status.Code(err) != codes.InvalidArgument {
		t.Errorf("%v", err)
	}
}

// An endpoint that cannot note who holds what gives nothing away.
func TestUnwritableFile(t *testing.T) {
	s, _ := newEndpoint(t, filepath.Join(t.TempDir(), "missing", "addresses"))
	if _, err := s.Request(t.Context(), from("a", "")); status.Code(err) != codes.Unavailable {
		t.Errorf("%v", err)
	}
}

// A successor without the file gives clients what they say they had.
func TestSuccessor(t *testing.T) {
	r := from("a", "attr/lb-1")
	r.Connection.Context.IpContext = &networkservice.IPContext{SrcIpAddrs: []string{"10.9.0.3/24", "fd09::2/64", "nonsense"}}
	s, _ := newEndpoint(t, "")
	if got := given(t, s, r); !slices.Equal(got, []string{"10.9.0.3/24", "fd09::2/64"}) {
		t.Errorf("addresses %v", got)
	}
}
