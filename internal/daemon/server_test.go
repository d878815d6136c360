// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/weft-project/weft/internal/resource"
	daemonv1 "github.com/weft-project/weft/pkg/api/daemon/v1"
	"github.com/weft-project/weft/pkg/apis/v1alpha1"
)

const network = `apiVersion: weft.dev/v1alpha1
kind: Trench
metadata: {name: a}
---
apiVersion: weft.dev/v1alpha1
kind: Conduit
metadata: {name: lb, labels: {trench: a}}
---
apiVersion: weft.dev/v1alpha1
kind: Stream
metadata: {name: web, labels: {trench: a}}
spec: {conduit: lb}
`

// serve runs a server on a unix socket.
func serve(t *testing.T, opts Options) (*resource.Store, daemonv1.DaemonClient) {
	t.Helper()
	t.Cleanup(func() { goleak.VerifyNone(t) }) // runs last
	store, err := resource.Open("")
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "admin.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	NewServer(store, opts).Register(server)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return store, daemonv1.NewDaemonClient(conn)
}

func applyRequest(yaml string) *daemonv1.ApplyRequest {
	return &daemonv1.ApplyRequest{Manifests: []*daemonv1.Manifest{{Name: "net.yaml", Yaml: []byte(yaml)}}}
}

func mustApply(t *testing.T, client daemonv1.DaemonClient, yaml string) {
	t.Helper()
	if _, err := client.Apply(t.Context(), applyRequest(yaml)); err != nil {
		t.Fatal(err)
	}
}

func names(objects []*daemonv1.Object) string {
	var out []string
	for _, o := range objects {
		out = append(out, o.GetKey().GetKind()+" "+o.GetKey().GetName())
	}
	return strings.Join(out, ", ")
}

func TestApplyRefusal(t *testing.T) {
	_, client := serve(t, Options{})
	_, err := client.Apply(t.Context(), applyRequest(strings.Replace(network, "conduit: lb", "conduit: nope, max-targets: 0", 1)))
	st := status.Convert(err)
	if st.Code() != codes.InvalidArgument {
		t.Fatalf("error = %v, want InvalidArgument", err)
	}
	wantMessage := `2 problems, the first: net.yaml:12: Stream web: spec.max-targets: must be between 1 and 10000, not 0`
	if st.Message() != wantMessage {
		t.Errorf("message = %s, want %s", st.Message(), wantMessage)
	}
	key := &daemonv1.Key{Kind: "Stream", Namespace: "default", Name: "web"}
	want := []any{&daemonv1.Problems{Problems: []*daemonv1.Problem{
		{File: "net.yaml", Line: 12, Object: key, Field: "spec.max-targets", Reason: "must be between 1 and 10000, not 0"},
		{File: "net.yaml", Line: 12, Object: key, Field: "spec.conduit", Reason: `there is no Conduit "nope" in namespace default`},
	}}}
	if diff := cmp.Diff(want, st.Details(), protocmp.Transform()); diff != "" {
		t.Errorf("details (-want +got):\n%s", diff)
	}
}

// The problems of a file that is wrong everywhere still fit into the answer.
func TestManyProblems(t *testing.T) {
	_, client := serve(t, Options{})
	bad := strings.Repeat("apiVersion: weft.dev/v1alpha1\nkind: Vip\nmetadata: {}\nspec: {address: x}\n---\n", 5000)
	_, err := client.Apply(t.Context(), applyRequest(bad))
	st := status.Convert(err)
	if st.Code() != codes.InvalidArgument || !strings.HasPrefix(st.Message(), "15000 problems, the first: net.yaml:3: ") {
		t.Fatalf("error = %v", err)
	}
	details := st.Details()[0].(*daemonv1.Problems).GetProblems()
	if len(details) != maxProblems {
		t.Errorf("%d problems in the details, want %d", len(details), maxProblems)
	}
}

func TestCodes(t *testing.T) {
	_, client := serve(t, Options{})
	mustApply(t, client, network)
	ctx := t.Context()
	key := func(kind, name string) *daemonv1.Key { return &daemonv1.Key{Kind: kind, Name: name} }
	tests := []struct {
		name string
		call func() error
		want string
	}{
		{"get of nothing", func() error {
			_, err := client.Get(ctx, &daemonv1.GetRequest{Object: key("Vip", "x")})
			return err
		}, "rpc error: code = NotFound desc = Vip x: not found"},
		{"get of an unknown kind", func() error {
			_, err := client.Get(ctx, &daemonv1.GetRequest{Object: key("Router", "x")})
			return err
		}, `rpc error: code = InvalidArgument desc = object.kind: "Router" is not known`},
		{"list of an unknown kind", func() error {
			_, err := client.List(ctx, &daemonv1.ListRequest{Kind: "stream"})
			return err
		}, `rpc error: code = InvalidArgument desc = kind: "stream" is not known`},
		{"deletion without a name", func() error {
			_, err := client.Delete(ctx, &daemonv1.DeleteRequest{Objects: []*daemonv1.Key{key("Vip", "x"), key("Vip", "")}})
			return err
		}, `rpc error: code = InvalidArgument desc = objects[1].name: must not be empty`},
		{"deletion of nothing", func() error {
			_, err := client.Delete(ctx, &daemonv1.DeleteRequest{Objects: []*daemonv1.Key{key("Vip", "x")}})
			return err
		}, `rpc error: code = NotFound desc = Vip x: not found`},
		{"deletion of what is needed", func() error {
			_, err := client.Delete(ctx, &daemonv1.DeleteRequest{Objects: []*daemonv1.Key{key("Conduit", "lb")}})
			return err
		}, `rpc error: code = FailedPrecondition desc = Stream web: spec.conduit: after the deletion there is no Conduit "lb" in namespace default`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.call(); err == nil || err.Error() != tt.want {
				t.Errorf("error = %v, want %s", err, tt.want)
			}
		})
	}
}

func TestGetListDelete(t *testing.T) {
	_, client := serve(t, Options{})
	mustApply(t, client, network)
	got, err := client.Get(t.Context(), &daemonv1.GetRequest{Object: &daemonv1.Key{Kind: "Stream", Name: "web"}})
	if err != nil || !strings.Contains(string(got.GetObject().GetJson()), `"spec":{"conduit":"lb","max-targets":100}`) {
		t.Errorf("object %s, error %v", got.GetObject().GetJson(), err)
	}
	for want, req := range map[string]*daemonv1.ListRequest{
		"Trench a, Conduit lb, Stream web": {Trench: "a"},
		"Stream web":                       {Kind: "Stream"},
		"Conduit lb":                       {Name: "lb", Namespace: "default"},
		"":                                 {Namespace: "other"},
	} {
		resp, err := client.List(t.Context(), req)
		if err != nil || names(resp.GetObjects()) != want || resp.GetGeneration() != 1 {
			t.Errorf("%v: %s, %v; want %s", req, names(resp.GetObjects()), err, want)
		}
	}
	resp, err := client.Delete(t.Context(), &daemonv1.DeleteRequest{Objects: []*daemonv1.Key{{Kind: "Stream", Name: "web"}}})
	if err != nil || resp.GetGeneration() != 2 || len(resp.GetChanges()) != 1 || resp.GetChanges()[0].GetAction() != daemonv1.Change_DELETED {
		t.Errorf("deletion: %v, %v", resp, err)
	}
}

func TestWatch(t *testing.T) {
	store, client := serve(t, Options{})
	mustApply(t, client, network)
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := client.Watch(ctx, &daemonv1.WatchRequest{Kind: v1alpha1.KindStream})
	if err != nil {
		t.Fatal(err)
	}
	expect := func(kind daemonv1.WatchResponse_Kind, want string) {
		t.Helper()
		resp, err := stream.Recv()
		if err != nil || resp.GetKind() != kind || names(resp.GetObjects()) != want {
			t.Fatalf("%v, %v; want %s of %s", resp, err, kind, want)
		}
	}
	expect(daemonv1.WatchResponse_SNAPSHOT, "Stream web")
	mustApply(t, client, strings.Replace(network, "conduit: lb", "conduit: lb, max-targets: 3", 1))
	expect(daemonv1.WatchResponse_CHANGED, "Stream web")
	store.ReportProgrammed(store.Snapshot(), "a", "lb", nil)
	expect(daemonv1.WatchResponse_CHANGED, "Stream web")
	if _, err := client.Delete(t.Context(), &daemonv1.DeleteRequest{Objects: []*daemonv1.Key{{Kind: "Stream", Name: "web"}}}); err != nil {
		t.Fatal(err)
	}
	expect(daemonv1.WatchResponse_REMOVED, "Stream web")
	cancel()
	if _, err := stream.Recv(); status.Code(err) != codes.Canceled {
		t.Errorf("error after cancel = %v", err)
	}
}

func TestStatusAndVersion(t *testing.T) {
	component := &daemonv1.Component{Name: "forwarder", Ready: true}
	_, client := serve(t, Options{
		Version:    &daemonv1.VersionResponse{Version: "v1"},
		Components: func() []*daemonv1.Component { return []*daemonv1.Component{component} },
	})
	mustApply(t, client, network)
	st, err := client.Status(t.Context(), &daemonv1.StatusRequest{})
	if err != nil || st.GetObjects() != 3 || st.GetGeneration() != 1 || st.GetComponents()[0].GetName() != "forwarder" || st.GetStarted() == nil {
		t.Errorf("status %v, %v", st, err)
	}
	v, err := client.Version(t.Context(), &daemonv1.VersionRequest{})
	if err != nil || v.GetVersion() != "v1" {
		t.Errorf("version %v, %v", v, err)
	}
}
