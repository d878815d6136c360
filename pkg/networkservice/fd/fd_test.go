// SPDX-License-Identifier: Apache-2.0

package fd

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/edwarnicke/grpcfd"
	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/common"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms/recvfd"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms/sendfd"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weft-project/weft/internal/log"
)

func TestMain(m *testing.M) {
	log.Setup(os.Stderr, log.LevelWarn)
	goleak.VerifyTestMain(m)
}

// probe is the end of a chain.
type probe struct {
	request func(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error)

	mu     sync.Mutex
	read   string   // by the last Request
	closed []string // what each Close could read
}

func (p *probe) saw(read string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.read = read
}

func (p *probe) seen() (read string, closed []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.read, p.closed
}

func (p *probe) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	if p.request != nil {
		return p.request(ctx, request)
	}
	return next.Server(ctx).Request(ctx, request)
}

func (p *probe) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	read, _ := content(ctx, &networkservice.NetworkServiceRequest{Connection: conn})
	p.mu.Lock()
	p.closed = append(p.closed, read)
	p.mu.Unlock()
	return next.Server(ctx).Close(ctx, conn)
}

type wrapper func(credentials.TransportCredentials) credentials.TransportCredentials

func theirs(c credentials.TransportCredentials) credentials.TransportCredentials {
	return grpcfd.TransportCredentials(c)
}

// serve serves elements on a socket and returns a connection to it.
func serve(t *testing.T, network string, server, client wrapper, elements ...networkservice.NetworkServiceServer) *grpc.ClientConn {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "s.sock")
	}
	listener, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.Creds(server(insecure.NewCredentials())), grpc.WaitForHandlers(true))
	networkservice.RegisterNetworkServiceServer(s, chain.NewNetworkServiceServer(elements...))
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(listener) }()
	t.Cleanup(func() { s.Stop(); <-done })
	target := "passthrough:///" + listener.Addr().String()
	if network == "unix" {
		target = "unix:" + listener.Addr().String()
	}
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(client(insecure.NewCredentials())),
		grpcfd.WithChainUnaryInterceptor())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func clientOf(conn *grpc.ClientConn, elements ...networkservice.NetworkServiceClient) networkservice.NetworkServiceClient {
	return chain.NewNetworkServiceClient(append(elements, networkservice.NewNetworkServiceClient(conn))...)
}

func asking(path string) *networkservice.NetworkServiceRequest {
	mechanism := func() *networkservice.Mechanism {
		return &networkservice.Mechanism{Type: "KERNEL", Parameters: map[string]string{common.InodeURL: "file://" + path}}
	}
	// A refresh names the namespace twice.
	return &networkservice.NetworkServiceRequest{
		Connection:           &networkservice.Connection{Id: "id", Mechanism: mechanism()},
		MechanismPreferences: []*networkservice.Mechanism{mechanism()},
	}
}

func timeLimit(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// content reads the namespace of the request as an element would.
func content(ctx context.Context, request *networkservice.NetworkServiceRequest) (string, error) {
	text := inodeURLOf(request.GetConnection().GetMechanism())
	if !isInode(text) {
		return "", errors.New("the server sees " + text)
	}
	path, err := Path(ctx, text)
	if err != nil {
		return "", err
	}
	read, err := os.ReadFile(path)
	return string(read), err
}

func TestPassing(t *testing.T) {
	for name, tc := range map[string]struct {
		server, client wrapper
		element        networkservice.NetworkServiceClient
	}{
		"ours to ours":   {TransportCredentials, TransportCredentials, NewClient()},
		"SDK's to ours":  {TransportCredentials, theirs, sendfd.NewClient()},
		"SDK's on ours":  {TransportCredentials, TransportCredentials, sendfd.NewClient()},
		"ours on theirs": {theirs, TransportCredentials, NewClient()},
	} {
		t.Run(name, func(t *testing.T) {
			path, _ := subject(t, "the namespace")
			end := &probe{}
			end.request = func(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
				read, err := content(ctx, request)
				end.saw(read)
				return request.GetConnection(), err
			}
			elements := []networkservice.NetworkServiceServer{NewServer(), end}
			if name == "ours on theirs" {
				end.request = func(_ context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
					u := inodeURLOf(request.GetConnection().GetMechanism())
					read, err := os.ReadFile(strings.TrimPrefix(u, "file://"))
					end.saw(string(read))
					return request.GetConnection(), err
				}
				elements[0] = recvfd.NewServer()
			}
			client := clientOf(serve(t, "unix", tc.server, tc.client, elements...), tc.element)
			for range 3 { // Request and two refreshes
				end.saw("")
				answer, err := client.Request(timeLimit(t), asking(path))
				if err != nil {
					t.Fatal(err)
				}
				if got, _ := end.seen(); got != "the namespace" {
					t.Errorf("the server read %q", got)
				}
				if u := inodeURLOf(answer.GetMechanism()); u != "file://"+path {
					t.Errorf("the client's mechanism names %s", u)
				}
			}
			for range 2 {
				if _, err := client.Close(timeLimit(t), asking(path).GetConnection()); err != nil {
					t.Fatal(err)
				}
			}
			want := []string{"the namespace", "the namespace"}
			if name == "ours on theirs" {
				want = []string{"", ""} // the SDK's way to lead there is another
			}
			if _, closed := end.seen(); !slices.Equal(closed, want) {
				t.Errorf("closes read %q", closed)
			}
			if name == "ours to ours" {
				wantHeld(t, path, 0)
			}
		})
	}
}

func TestCloseOfAGoneNamespace(t *testing.T) {
	path, _ := subject(t, "x")
	end := &probe{}
	conn := serve(t, "unix", TransportCredentials, TransportCredentials, NewServer(), end)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	for _, closing := range []networkservice.NetworkServiceClient{clientOf(conn, NewClient()), clientOf(conn)} {
		if _, err := closing.Close(timeLimit(t), asking(path).GetConnection()); err != nil {
			t.Fatal(err)
		}
	}
	// An inode without a descriptor.
	gone := asking(path).GetConnection()
	gone.Mechanism.Parameters[common.InodeURL] = inode{1, 2}.url()
	if _, err := clientOf(conn).Close(timeLimit(t), gone); err != nil {
		t.Fatal(err)
	}
	if _, closed := end.seen(); !slices.Equal(closed, []string{"", "", ""}) {
		t.Errorf("closes read %q", closed)
	}
}

func TestCallerKeepsItsRequest(t *testing.T) {
	path, _ := subject(t, "x")
	client := clientOf(serve(t, "unix", TransportCredentials, TransportCredentials, NewServer(), &probe{}), NewClient())
	request := asking(path)
	if _, err := client.Request(timeLimit(t), request); err != nil {
		t.Fatal(err)
	}
	for _, m := range mechanismsOf(request) {
		if inodeURLOf(m) != "file://"+path {
			t.Errorf("the request names %s", inodeURLOf(m))
		}
	}
}

func TestManyAtOnceOnOneConnection(t *testing.T) {
	end := &probe{}
	var mu sync.Mutex
	got := map[string]int{}
	end.request = func(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
		read, err := content(ctx, request)
		mu.Lock()
		got[read]++
		mu.Unlock()
		return request.GetConnection(), err
	}
	client := clientOf(serve(t, "unix", TransportCredentials, TransportCredentials, NewServer(), end), NewClient())
	const files, each = 20, 25
	paths := make([]string, files)
	names := make([]string, files)
	var group sync.WaitGroup
	for i := range files {
		names[i] = strings.Repeat("x", i+1)
		paths[i], _ = subject(t, names[i])
		for range each {
			group.Go(func() {
				if _, err := client.Request(timeLimit(t), asking(paths[i])); err != nil {
					t.Error(err)
				}
			})
		}
	}
	group.Wait()
	mu.Lock()
	defer mu.Unlock()
	for i, path := range paths {
		if got[names[i]] != each {
			t.Errorf("file %d was read %d times", i, got[names[i]])
		}
		wantHeld(t, path, 0)
	}
}

func TestFailures(t *testing.T) {
	path, key := subject(t, "x")
	refuse := &probe{request: func(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
		_, err := content(ctx, request)
		return nil, status.Error(codes.NotFound, "refused: "+errorText(err))
	}}
	overUnix := serve(t, "unix", TransportCredentials, TransportCredentials, NewServer(), refuse)
	overTCP := serve(t, "tcp", TransportCredentials, TransportCredentials, NewServer(), refuse)
	without := func(u string) *networkservice.NetworkServiceRequest {
		request := asking(path)
		for _, m := range mechanismsOf(request) {
			m.Parameters[common.InodeURL] = u
		}
		return request
	}
	for name, tc := range map[string]struct {
		conn    *grpc.ClientConn
		request *networkservice.NetworkServiceRequest
		code    codes.Code
		text    string
	}{
		"next fails":         {overUnix, asking(path), codes.NotFound, "refused: "},
		"missing file":       {overUnix, without("file:///no/such/file"), codes.FailedPrecondition, "mechanism parameter inodeURL: open /no/such/file: no such file or directory"},
		"relative file":      {overUnix, without("file:x"), codes.FailedPrecondition, `mechanism parameter inodeURL: "file:x": want file:///absolute/path`},
		"bad inode":          {overUnix, without("inode://a/b"), codes.InvalidArgument, `mechanism parameter inodeURL: "inode://a/b": want inode://device/inode in decimal`},
		"nothing sent":       {overUnix, without(inode{1, 2}.url()), codes.FailedPrecondition, "mechanism parameter inodeURL inode://1/2: receive descriptor: context deadline exceeded"},
		"no descriptor: TCP": {overTCP, asking(path), codes.NotFound, `refused: "` + key.url() + `": no descriptor came with the request`},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := timeLimit(t)
			if name == "nothing sent" {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, 50*time.Millisecond)
				defer cancel()
			}
			_, err := clientOf(tc.conn, NewClient()).Request(ctx, tc.request)
			if name == "nothing sent" && status.Code(err) == codes.DeadlineExceeded {
				return // the client's clock was faster
			}
			if status.Code(err) != tc.code || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("got %v\nwant %s %s", err, tc.code, tc.text)
			}
			wantHeld(t, path, 0)
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// A forwarder is a server whose client half receives the endpoint's namespace.
func TestAnswer(t *testing.T) {
	for name, tc := range map[string]struct {
		creds   wrapper
		element networkservice.NetworkServiceServer
	}{
		"ours":  {TransportCredentials, NewAnswerServer()},
		"SDK's": {theirs, sendfd.NewServer()},
	} {
		t.Run(name, func(t *testing.T) {
			path, key := subject(t, "the endpoint's namespace")
			endpoint := &probe{request: func(_ context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
				conn := request.GetConnection()
				conn.Mechanism = &networkservice.Mechanism{Parameters: map[string]string{common.InodeURL: "file://" + path}}
				return conn, nil
			}}
			behind := clientOf(serve(t, "unix", tc.creds, TransportCredentials, tc.element, endpoint), NewClient())
			forwarder := &probe{request: func(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
				answer, err := behind.Request(ctx, request)
				if err != nil {
					return nil, err
				}
				read, err := content(ctx, &networkservice.NetworkServiceRequest{Connection: answer})
				if err != nil || read != "the endpoint's namespace" {
					return nil, status.Errorf(codes.Internal, "read %q: %v", read, err)
				}
				return answer, nil
			}}
			client := clientOf(serve(t, "unix", TransportCredentials, TransportCredentials, NewServer(), forwarder))
			for range 2 {
				answer, err := client.Request(timeLimit(t), &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{Id: "id"}})
				if err != nil {
					t.Fatal(err)
				}
				if u := inodeURLOf(answer.GetMechanism()); u != key.url() {
					t.Errorf("the answer names %s", u)
				}
				wantHeld(t, path, 0)
			}
		})
	}
}

func TestAnswerOfAGoneNamespaceCloses(t *testing.T) {
	end := &probe{request: func(_ context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
		conn := request.GetConnection()
		conn.Mechanism = &networkservice.Mechanism{Parameters: map[string]string{common.InodeURL: "file:///gone"}}
		return conn, nil
	}}
	client := clientOf(serve(t, "unix", TransportCredentials, TransportCredentials, NewAnswerServer(), end))
	_, err := client.Request(timeLimit(t), &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{Id: "id"}})
	if _, closed := end.seen(); status.Code(err) != codes.Internal || len(closed) != 1 {
		t.Errorf("%v, closed %d times", err, len(closed))
	}
}
