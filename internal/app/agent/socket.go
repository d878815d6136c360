// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"
	"io/fs"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"github.com/weft-project/weft/internal/app/service"
	"github.com/weft-project/weft/internal/attachment"
	"github.com/weft-project/weft/internal/workload"
	agentv1 "github.com/weft-project/weft/pkg/api/agent/v1"
	ambassadorv1 "github.com/weft-project/weft/pkg/api/ambassador/v1"
	nodev1 "github.com/weft-project/weft/pkg/api/node/v1"
)

// maxMessage bounds what a workload can make the agent read.
const maxMessage = 256 << 10

// socket is a gRPC server on a unix socket.
type socket struct {
	server *grpc.Server
	health *health.Server
	done   chan error
}

// serve offers the workload API, and to workloads also the Tap API: that one
// has no way to name a namespace, so it is not for the administrator. more adds
// services of others.
func serve(path string, mode uint32, admin bool, manager *attachment.Manager, more func(grpc.ServiceRegistrar)) (*socket, error) {
	listener, err := service.ListenUnix(path, fs.FileMode(mode))
	if err != nil {
		return nil, err
	}
	s := &socket{
		server: grpc.NewServer(grpc.Creds(workload.NewCredentials()), grpc.MaxRecvMsgSize(maxMessage), grpc.WaitForHandlers(true)),
		health: health.NewServer(),
		done:   make(chan error, 1),
	}
	agentv1.RegisterAgentServer(s.server, &server{manager: manager, admin: admin})
	s.health.SetServingStatus(agentv1.Agent_ServiceDesc.ServiceName, grpc_health_v1.HealthCheckResponse_SERVING)
	if !admin {
		ambassadorv1.RegisterTapServer(s.server, &tap{manager: manager})
		s.health.SetServingStatus(ambassadorv1.Tap_ServiceDesc.ServiceName, grpc_health_v1.HealthCheckResponse_SERVING)
	}
	if more != nil {
		more(s.server)
	}
	if admin {
		s.health.SetServingStatus(nodev1.Node_ServiceDesc.ServiceName, grpc_health_v1.HealthCheckResponse_SERVING)
	}
	grpc_health_v1.RegisterHealthServer(s.server, s.health)
	reflection.Register(s.server)
	go func() { s.done <- s.server.Serve(listener) }()
	return s, nil
}

// stop ends all calls; those that wait for the reconciler have ended with it.
func (s *socket) stop() error {
	s.health.Shutdown()
	s.server.Stop()
	if err := <-s.done; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}
