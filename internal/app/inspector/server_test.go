// SPDX-License-Identifier: Apache-2.0

package inspector_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/weft-project/weft/internal/app/inspector"
	"github.com/weft-project/weft/internal/app/service"
	"github.com/weft-project/weft/internal/inspect"
	"github.com/weft-project/weft/internal/inspect/inspecttest"
	"github.com/weft-project/weft/internal/packet"
	balancerv1 "github.com/weft-project/weft/pkg/api/balancer/v1"
	"github.com/weft-project/weft/pkg/dataplane/lb"
)

// serve returns a client of a server on a socket.
func serve(t *testing.T, replicas ...inspect.Replica) *grpc.ClientConn {
	t.Helper()
	t.Cleanup(func() { goleak.VerifyNone(t) })
	path := filepath.Join(t.TempDir(), "sub", "admin.sock")
	stop, err := service.ServeAdmin(path, inspector.NewServer(func() []inspect.Replica { return replicas }).Register)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the socket stays: %v", err)
		}
	})
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v", info, err)
	}
	if _, err := service.ServeAdmin(path, inspector.NewServer(nil).Register); err == nil || !strings.Contains(err.Error(), "another process serves there") {
		t.Errorf("a second server: %v", err)
	}
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func frame() []byte {
	ip := packet.IP{Src: inspecttest.VIP4, Dst: inspecttest.VIP4}
	return ip.Packet(packet.Ethernet{Dst: inspecttest.MAC}, packet.TCP, ip.TCP(1, 80, 2, nil))
}

func TestList(t *testing.T) {
	conn := serve(t, inspecttest.New("lb-2", &inspecttest.Plane{}), inspecttest.New("lb-1", &inspecttest.Plane{}))
	resp, err := balancerv1.NewBalancerClient(conn).List(t.Context(), &balancerv1.ListRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if len(resp.GetReplicas()) != 2 {
		t.Fatalf("got %v", resp)
	}
	r := resp.GetReplicas()[0]
	if r.GetName() != "lb-1" || r.GetTrench() != "trench-a" || r.GetConduit() != "lb" || r.GetInterface() != "ext0" || r.GetMode() != "tcx" || len(r.GetMac()) != 6 {
		t.Errorf("got %v", r)
	}
	health, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: "weft.balancer.v1.Balancer"})
	if err != nil || health.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("health %v, %v", health, err)
	}
}

func TestRefusals(t *testing.T) {
	client := balancerv1.NewBalancerClient(serve(t, inspecttest.New("lb-1", &inspecttest.Plane{})))
	trace := func(req *balancerv1.TraceRequest) error {
		_, err := client.Trace(t.Context(), req)
		return err
	}
	observe := func(req *balancerv1.ObserveRequest) error {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		stream, err := client.Observe(ctx, req)
		if err == nil {
			_, err = stream.Recv()
		}
		return err
	}
	_, statistics := client.Statistics(t.Context(), &balancerv1.StatisticsRequest{Replica: "x"})
	for want, err := range map[string]error{
		`NotFound replica: there is no replica "x" here`:               statistics,
		`NotFound replica: there is no replica "y" here`:               trace(&balancerv1.TraceRequest{Replica: "y", Frames: [][]byte{frame()}}),
		`NotFound replica: there is no replica "z" here`:               observe(&balancerv1.ObserveRequest{Replica: "z"}),
		"InvalidArgument replica: is needed":                           trace(&balancerv1.TraceRequest{Frames: [][]byte{frame()}}),
		"InvalidArgument frames: 0 frames are not within 1 to 1000":    trace(&balancerv1.TraceRequest{Replica: "lb-1"}),
		"InvalidArgument frames: 1001 frames are not within 1 to 1000": trace(&balancerv1.TraceRequest{Replica: "lb-1", Frames: make([][]byte, 1001)}),
		"InvalidArgument frames[1]: 13 bytes are not within 14 to":     trace(&balancerv1.TraceRequest{Replica: "lb-1", Frames: [][]byte{frame(), make([]byte, 13)}}),
		"InvalidArgument source: \"x\"":                                observe(&balancerv1.ObserveRequest{Source: "x"}),
		"InvalidArgument source: \"::ffff:1.2.3.4\"":                   observe(&balancerv1.ObserveRequest{Source: "::ffff:1.2.3.4"}),
		"InvalidArgument destination: \"1.2.3.4/33\"":                  observe(&balancerv1.ObserveRequest{Destination: "1.2.3.4/33"}),
		"InvalidArgument destination: 2000::1/128 is not of the IP":    observe(&balancerv1.ObserveRequest{Source: "1.2.3.4", Destination: "2000::1"}),
		"InvalidArgument protocol: \"gre\"":                            observe(&balancerv1.ObserveRequest{Protocol: "gre"}),
		"InvalidArgument port: 65536":                                  observe(&balancerv1.ObserveRequest{Port: 65536}),
		"InvalidArgument reasons[0]: there is no reason":               observe(&balancerv1.ObserveRequest{Reasons: []string{"gone"}}),
		"InvalidArgument rate: 1000001":                                observe(&balancerv1.ObserveRequest{Rate: 1000001}),
	} {
		st := status.Convert(err)
		if got := st.Code().String() + " " + st.Message(); !strings.HasPrefix(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestFailuresOfTheDataPlane(t *testing.T) {
	client := balancerv1.NewBalancerClient(serve(t, inspecttest.New("lb-1", &inspecttest.Plane{Err: errors.New("broken")})))
	_, statistics := client.Statistics(t.Context(), &balancerv1.StatisticsRequest{})
	_, trace := client.Trace(t.Context(), &balancerv1.TraceRequest{Replica: "lb-1", Frames: [][]byte{frame()}})
	stream, observe := client.Observe(t.Context(), &balancerv1.ObserveRequest{})
	if observe == nil {
		_, observe = stream.Recv()
	}
	for what, err := range map[string]error{"statistics": statistics, "trace": trace, "observe": observe} {
		if st := status.Convert(err); st.Code() != codes.Internal || !strings.Contains(st.Message(), "lb-1: broken") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestSecondObserver(t *testing.T) {
	client := balancerv1.NewBalancerClient(serve(t, inspecttest.New("lb-1", &inspecttest.Plane{Err: lb.ErrObserved})))
	stream, err := client.Observe(t.Context(), &balancerv1.ObserveRequest{})
	if err == nil {
		_, err = stream.Recv()
	}
	if st := status.Convert(err); st.Code() != codes.ResourceExhausted || !strings.Contains(st.Message(), "somebody else observes") {
		t.Errorf("got %v", err)
	}
}

// So many flows do not match that not all are named.
func TestMismatchesAreCut(t *testing.T) {
	r := inspecttest.New("lb-1", &inspecttest.Plane{Decide: func([]byte, bool) (lb.Verdict, []byte) { return lb.Verdict{Reason: lb.DropNoFlow}, nil }})
	state := inspecttest.NewState()
	flow := state.Configuration.Flows[0]
	state.Configuration.Flows = nil
	for i := range 30 {
		flow.Rule.Name = "flow-" + string(rune('a'+i))
		flow.Rule.Protocols = []uint8{packet.SCTP}
		state.Configuration.Flows = append(state.Configuration.Flows, flow)
	}
	r.State = state
	client := balancerv1.NewBalancerClient(serve(t, r))
	for limit, want := range map[uint32][2]int{0: {20, 10}, 7: {7, 23}, 100: {30, 0}} {
		resp, err := client.Trace(t.Context(), &balancerv1.TraceRequest{Replica: "lb-1", Frames: [][]byte{frame()}, MaxMismatches: limit})
		if err != nil {
			t.Fatal(err)
		}
		d := resp.GetDecisions()[0]
		if got := [2]int{len(d.GetMismatches()), int(d.GetMismatchesLeftOut())}; got != want || d.GetAction() != balancerv1.Decision_DROPPED {
			t.Errorf("limit %d: %v, want %v", limit, got, want)
		}
	}
}

// Stopping the server ends an observation.
func TestStopEndsObservations(t *testing.T) {
	defer goleak.VerifyNone(t)
	path := filepath.Join(t.TempDir(), "admin.sock")
	plane := &inspecttest.Plane{Events: []lb.Event{{Reason: lb.Forwarded, Src: inspecttest.VIP4, Dst: inspecttest.VIP4, Protocol: 6}}}
	stop, err := service.ServeAdmin(path, inspector.NewServer(func() []inspect.Replica {
		return []inspect.Replica{inspecttest.New("lb-1", plane)}
	}).Register)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stream, err := balancerv1.NewBalancerClient(conn).Observe(t.Context(), &balancerv1.ObserveRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if e, err := stream.Recv(); err != nil || e.GetReason() != "forwarded" || e.GetProtocol() != "tcp" || e.GetReplica() != "lb-1" {
		t.Errorf("%v, %v", e, err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if e, err := stream.Recv(); err == nil {
		t.Errorf("got %v after the end", e)
	}
}
