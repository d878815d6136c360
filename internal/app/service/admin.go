// SPDX-License-Identifier: Apache-2.0

package service

import (
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
)

// ServeAdmin serves gRPC services on a unix socket of their own, which only its
// owner may use, until stop; that ends the calls that are under way.
func ServeAdmin(path string, register func(grpc.ServiceRegistrar)) (stop func() error, err error) {
	listener, err := ListenUnix(path, 0o600)
	if err != nil {
		return nil, err
	}
	server := grpc.NewServer(grpc.WaitForHandlers(true))
	register(server)
	checks := health.NewServer()
	for name := range server.GetServiceInfo() {
		checks.SetServingStatus(name, grpc_health_v1.HealthCheckResponse_SERVING)
	}
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
