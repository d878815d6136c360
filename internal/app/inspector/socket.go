// SPDX-License-Identifier: Apache-2.0

package inspector

import (
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"github.com/weft-project/weft/internal/app/service"
	balancerv1 "github.com/weft-project/weft/pkg/api/balancer/v1"
)

// Serve serves the service on a unix socket of its own, which only its owner may
// use, until stop; that ends the calls that are under way.
func Serve(path string, s *Server) (stop func() error, err error) {
	listener, err := service.ListenUnix(path, 0o600)
	if err != nil {
		return nil, err
	}
	server := grpc.NewServer(grpc.WaitForHandlers(true))
	s.Register(server)
	checks := health.NewServer()
	checks.SetServingStatus(balancerv1.Balancer_ServiceDesc.ServiceName, grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(server, checks)
	reflection.Register(server)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	return func() error {
		checks.Shutdown()
		server.Stop()
		if err := <-done; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			return fmt.Errorf("serve %s: %w", path, err)
		}
		return nil
	}, nil
}
