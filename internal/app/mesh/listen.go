// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/weft-project/weft/pkg/networkservice/dial"
)

// Server serves gRPC on one or more URLs until Stop.
type Server struct {
	grpc  *grpc.Server
	group errgroup.Group
	urls  []*url.URL
}

// Serve listens on urls (unix:///path, tcp://host:port) and serves what register
// registers. It returns when every socket accepts connections. The sockets'
// files are readable by root only.
func Serve(security Security, urls []*url.URL, register func(*grpc.Server)) (*Server, error) {
	return serve(security, urls, func(s *grpc.Server, _ []*url.URL) { register(s) })
}

// serve is Serve for those that need to know where they are served.
func serve(security Security, urls []*url.URL, register func(*grpc.Server, []*url.URL)) (*Server, error) {
	if len(urls) == 0 {
		return nil, errors.New("no URL to listen on")
	}
	// Handlers of the SDK use what the caller releases after Stop.
	options := append([]grpc.ServerOption{grpc.WaitForHandlers(true)}, security.withDefaults().ServerOptions...)
	s := &Server{grpc: grpc.NewServer(options...)}
	var listeners []net.Listener
	for _, u := range urls {
		listener, err := listen(u)
		if err != nil {
			for _, l := range listeners {
				err = errors.Join(err, l.Close())
			}
			return nil, err
		}
		listeners = append(listeners, listener)
		s.urls = append(s.urls, urlOf(listener.Addr()))
	}
	register(s.grpc, s.urls)
	for _, listener := range listeners {
		s.group.Go(func() error { return s.grpc.Serve(listener) })
	}
	return s, nil
}

// URLs returns where the server listens; a port 0 is replaced by the real one.
func (s *Server) URLs() []*url.URL { return s.urls }

// Drain takes no more calls and waits until those that run have been answered,
// for as long as ctx allows. Stop has to follow.
func (s *Server) Drain(ctx context.Context) {
	stop := context.AfterFunc(ctx, s.grpc.Stop)
	defer stop()
	s.grpc.GracefulStop()
}

// Stop closes every socket and connection and waits for the running handlers.
func (s *Server) Stop() error {
	s.grpc.Stop()
	if err := s.group.Wait(); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve %s: %w", s.urls[0], err)
	}
	return nil
}

func listen(u *url.URL) (net.Listener, error) {
	switch u.Scheme {
	case "tcp":
		config := net.ListenConfig{KeepAliveConfig: dial.KeepAlive, Control: dial.Control}
		listener, err := config.Listen(context.Background(), "tcp", u.Host)
		if err != nil {
			return nil, fmt.Errorf("listen on %s: %w", u, err)
		}
		return listener, nil
	case "unix":
		return listenUnix(u.Path + u.Opaque)
	}
	return nil, fmt.Errorf("listen on %s: scheme %q is neither unix nor tcp", u, u.Scheme)
}

func listenUnix(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	// A process that was killed leaves its socket. A living one answers.
	if conn, err := net.Dial("unix", path); err == nil {
		return nil, errors.Join(fmt.Errorf("listen on %s: another process serves there", path), conn.Close())
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("listen on %s: %w", path, err), listener.Close())
	}
	return listener, nil
}

func urlOf(addr net.Addr) *url.URL {
	if addr.Network() == "unix" {
		return &url.URL{Scheme: "unix", Path: addr.String()}
	}
	return &url.URL{Scheme: "tcp", Host: addr.String()}
}
