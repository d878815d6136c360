// SPDX-License-Identifier: Apache-2.0

package kernelmech_test

import (
	"context"
	"errors"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/memif"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"github.com/networkservicemesh/sdk/pkg/tools/clienturlctx"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weft-project/weft/internal/log"
	"github.com/weft-project/weft/pkg/networkservice/kernelmech"
)

func TestMain(m *testing.M) {
	log.Setup(os.Stderr, log.LevelWarn)
	goleak.VerifyTestMain(m)
}

func mechanism(name, url string) *networkservice.Mechanism {
	m := kernel.ToMechanism(kernel.New(url))
	m.SetInterfaceName(name)
	return m.Mechanism
}

// end is what both kinds of chain lead to.
type end struct {
	answer   *networkservice.Mechanism
	err      error
	requests []*networkservice.NetworkServiceRequest
	closes   []*networkservice.Connection
	closeErr error
}

func (e *end) request(request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	e.requests = append(e.requests, request.Clone())
	conn := request.GetConnection().Clone()
	if e.answer != nil {
		conn.Mechanism = e.answer.Clone()
	}
	return conn, e.err
}

func (e *end) close(conn *networkservice.Connection) (*emptypb.Empty, error) {
	e.closes = append(e.closes, conn.Clone())
	return &emptypb.Empty{}, e.closeErr
}

type serverEnd struct{ *end }

func (e serverEnd) Request(_ context.Context, r *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	return e.request(r)
}

func (e serverEnd) Close(_ context.Context, c *networkservice.Connection) (*emptypb.Empty, error) {
	return e.close(c)
}

type clientEnd struct{ *end }

func (e clientEnd) Request(_ context.Context, r *networkservice.NetworkServiceRequest, _ ...grpc.CallOption) (*networkservice.Connection, error) {
	return e.request(r)
}

func (e clientEnd) Close(_ context.Context, c *networkservice.Connection, _ ...grpc.CallOption) (*emptypb.Empty, error) {
	return e.close(c)
}

func TestServerChooses(t *testing.T) {
	want := mechanism("nsm-1", "file:///run/netns/a")
	e := &end{}
	server := chain.NewNetworkServiceServer(kernelmech.NewServer(), serverEnd{e})
	request := &networkservice.NetworkServiceRequest{
		Connection:           &networkservice.Connection{Id: "a"},
		MechanismPreferences: []*networkservice.Mechanism{{Type: memif.MECHANISM}, want, mechanism("other", "file:///x")},
	}
	conn, err := server.Request(t.Context(), request)
	if err != nil || !proto.Equal(conn.GetMechanism(), want) {
		t.Fatalf("%v, %v", conn.GetMechanism(), err)
	}
	// The refresh keeps the choice, whatever the preferences say now.
	request.Connection, request.MechanismPreferences = conn, nil
	if conn, err = server.Request(t.Context(), request); err != nil || !proto.Equal(conn.GetMechanism(), want) {
		t.Fatalf("%v, %v", conn.GetMechanism(), err)
	}
	for range 2 {
		if _, err := server.Close(t.Context(), conn); err != nil {
			t.Fatal(err)
		}
	}
	if len(e.closes) != 2 {
		t.Errorf("closed %d times", len(e.closes))
	}
	e.err = status.Error(codes.NotFound, "no such stream")
	if _, err := server.Request(t.Context(), request); status.Code(err) != codes.NotFound {
		t.Errorf("%v", err)
	}
}

func TestServerRefuses(t *testing.T) {
	const netNS = "file:///run/netns/a"
	for name, tc := range map[string]struct {
		m    *networkservice.Mechanism
		want string
	}{
		"no name":          {mechanism("", netNS), "mechanism parameter name: is missing or empty"},
		"16 bytes":         {mechanism("nsm-456789012345", netNS), `mechanism parameter name "nsm-456789012345": has 16 bytes, an interface name has at most 15`},
		"slash":            {mechanism("a/b", netNS), `mechanism parameter name "a/b": holds the character '/'`},
		"space":            {mechanism("a b", netNS), `mechanism parameter name "a b": holds the character ' '`},
		"colon":            {mechanism("a:1", netNS), `mechanism parameter name "a:1": holds the character ':'`},
		"pattern":          {mechanism("nsm%d", netNS), `mechanism parameter name "nsm%d": holds the character '%'`},
		"NUL":              {mechanism("a\x00", netNS), `mechanism parameter name "a\x00": holds the character '\x00'`},
		"parent":           {mechanism("..", netNS), `mechanism parameter name "..": is not a name`},
		"no namespace":     {mechanism("a", ""), "mechanism parameter inodeURL: is missing or empty"},
		"path":             {mechanism("a", "/run/netns/a"), `mechanism parameter inodeURL "/run/netns/a": want file:///path or inode://device/inode`},
		"file with a host": {mechanism("a", "file://host/x"), `mechanism parameter inodeURL "file://host/x": want file:///path or inode://device/inode`},
		"no parameters":    {&networkservice.Mechanism{Type: kernel.MECHANISM}, "mechanism parameter name: is missing or empty\nmechanism parameter inodeURL: is missing or empty"},
	} {
		t.Run(name, func(t *testing.T) {
			e := &end{}
			server := chain.NewNetworkServiceServer(kernelmech.NewServer(), serverEnd{e})
			request := &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{Id: "a"}}
			if tc.m != nil {
				request.MechanismPreferences = []*networkservice.Mechanism{tc.m}
			}
			_, err := server.Request(t.Context(), request)
			if status.Code(err) != codes.InvalidArgument || status.Convert(err).Message() != tc.want {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
			if len(e.requests) != 0 {
				t.Error("the next element was asked")
			}
		})
	}
}

// Other mechanisms, and a next hop on another node, are left to others.
func TestLeftToOthers(t *testing.T) {
	e := &end{}
	server := chain.NewNetworkServiceServer(kernelmech.NewServer(), serverEnd{e})
	request := &networkservice.NetworkServiceRequest{
		Connection:           &networkservice.Connection{Id: "a"},
		MechanismPreferences: []*networkservice.Mechanism{{Type: memif.MECHANISM}},
	}
	if _, err := server.Request(t.Context(), request.Clone()); err != nil || !proto.Equal(e.requests[0], request) {
		t.Errorf("%v, %v", e.requests, err)
	}
	e = &end{}
	ctx := clienturlctx.WithClientURL(t.Context(), &url.URL{Scheme: "tcp", Host: "192.0.2.1:5001"})
	client := chain.NewNetworkServiceClient(metadata.NewClient(), kernelmech.NewClient(), clientEnd{e})
	if _, err := client.Request(ctx, request.Clone()); err != nil || !proto.Equal(e.requests[0], request) {
		t.Errorf("%v, %v", e.requests, err)
	}
}

func newClient(e *end) networkservice.NetworkServiceClient {
	return chain.NewNetworkServiceClient(metadata.NewClient(), &before{}, kernelmech.NewClient(), clientEnd{e})
}

func TestClientTranslates(t *testing.T) {
	mine, theirs := mechanism("nsm-1", "inode://4/1"), mechanism("leg-1", "inode://4/2")
	e := &end{answer: theirs}
	client := newClient(e)
	request := &networkservice.NetworkServiceRequest{
		Connection:           &networkservice.Connection{Id: "a", Mechanism: mine.Clone()},
		MechanismPreferences: []*networkservice.Mechanism{mine.Clone()},
	}
	for i := range 2 {
		conn, err := client.Request(t.Context(), request.Clone())
		if err != nil || !proto.Equal(conn.GetMechanism(), mine) {
			t.Fatalf("request %d: %v, %v", i, conn.GetMechanism(), err)
		}
	}
	for range 2 {
		if _, err := client.Close(t.Context(), request.GetConnection()); err != nil {
			t.Fatal(err)
		}
	}
	// The client's namespace is not the endpoint's business.
	want := &networkservice.NetworkServiceRequest{
		Connection:           &networkservice.Connection{Id: "a"},
		MechanismPreferences: []*networkservice.Mechanism{{Cls: "LOCAL", Type: kernel.MECHANISM, Parameters: map[string]string{}}},
	}
	second := want.Clone()
	second.Connection.Mechanism = theirs
	for i, w := range []*networkservice.NetworkServiceRequest{want, second} {
		if diff := cmp.Diff(w.String(), e.requests[i].String()); diff != "" {
			t.Errorf("request %d:\n%s", i, diff)
		}
	}
	if len(e.closes) != 2 || !proto.Equal(e.closes[0].GetMechanism(), theirs) || e.closes[1].GetMechanism() != nil {
		t.Errorf("closes: %v", e.closes)
	}
}

func TestClientFailures(t *testing.T) {
	request := &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{Id: "a", NetworkServiceEndpointName: "lb-1"}}

	e := &end{err: status.Error(codes.ResourceExhausted, "full")}
	if _, err := newClient(e).Request(t.Context(), request.Clone()); status.Code(err) != codes.ResourceExhausted || len(e.closes) != 0 {
		t.Errorf("next fails: %v, closed %d times", err, len(e.closes))
	}

	e = &end{answer: mechanism("sixteen-bytes-xx", "")}
	client := newClient(e)
	_, err := client.Request(t.Context(), request.Clone())
	if status.Code(err) != codes.FailedPrecondition || !strings.HasPrefix(status.Convert(err).Message(), "answer of endpoint lb-1: mechanism parameter name") {
		t.Errorf("bad answer: %v", err)
	}
	if len(e.closes) != 1 {
		t.Errorf("bad first answer: closed %d times", len(e.closes))
	}

	// A bad answer to a refresh leaves the connection.
	e.answer = mechanism("leg-1", "file:///x")
	if _, err := client.Request(t.Context(), request.Clone()); err != nil {
		t.Fatal(err)
	}
	e.answer = mechanism("", "")
	if _, err := client.Request(t.Context(), request.Clone()); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("%v", err)
	}
	if len(e.closes) != 1 {
		t.Errorf("bad answer to a refresh: closed %d times", len(e.closes))
	}

	e.closeErr = errors.New("endpoint is gone")
	if _, err := client.Close(t.Context(), request.GetConnection()); !errors.Is(err, e.closeErr) {
		t.Errorf("close: %v", err)
	}
}

// before checks that Endpoint tells what the endpoint answered.
type before struct{}

func (before) Request(ctx context.Context, r *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	conn, err := next.Client(ctx).Request(ctx, r, opts...)
	if err == nil && kernelmech.Endpoint(ctx) == nil {
		return nil, errors.New("no endpoint mechanism")
	}
	return conn, err
}

func (before) Close(ctx context.Context, c *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	return next.Client(ctx).Close(ctx, c, opts...)
}
