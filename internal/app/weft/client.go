// SPDX-License-Identifier: Apache-2.0

package weft

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	agentv1 "github.com/weft-project/weft/pkg/api/agent/v1"
	daemonv1 "github.com/weft-project/weft/pkg/api/daemon/v1"
)

// maxAnswer is enough for the largest set of resources that weft accepts.
const maxAnswer = 64 << 20

// withAgent calls fn with a client of the agent on the workload socket, or of
// the one on the administrator's.
func (a *app) withAgent(ctx context.Context, admin bool, fn func(context.Context, agentv1.AgentClient) error) error {
	socket := AgentSocket
	if admin {
		socket = AdminSocket
	}
	return a.withConn(ctx, socket, func(ctx context.Context, conn *grpc.ClientConn) error {
		return fn(ctx, agentv1.NewAgentClient(conn))
	})
}

// withDaemon calls fn with a client of the daemon.
func (a *app) withDaemon(ctx context.Context, fn func(context.Context, daemonv1.DaemonClient) error) error {
	return a.withConn(ctx, AdminSocket, func(ctx context.Context, conn *grpc.ClientConn) error {
		return fn(ctx, daemonv1.NewDaemonClient(conn))
	})
}

// choose returns the socket to use: what --socket or WEFT_SOCKET says, which may
// also be the directory that holds the sockets, or the default.
func (a *app) choose(standard string) (string, error) {
	named := cmp.Or(a.socket, a.env.Getenv("WEFT_SOCKET"))
	if named == "" {
		return standard, nil
	}
	if info, err := os.Stat(named); err == nil && info.IsDir() {
		named = filepath.Join(named, filepath.Base(standard))
	}
	return filepath.Abs(named)
}

func (a *app) withConn(ctx context.Context, standard string, fn func(context.Context, *grpc.ClientConn) error) error {
	socket, err := a.choose(standard)
	if err != nil {
		return err
	}
	if err := probe(ctx, socket); err != nil {
		return err
	}
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)))
	if err != nil {
		return fmt.Errorf("connect to %s: %w", socket, err)
	}
	defer func() { _ = conn.Close() }() // nothing is lost: the call is over
	return fn(ctx, conn)
}

// call bounds one call by --timeout.
func (a *app) call(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, a.timeout)
}

// probe connects once, because the error of a plain connect says what is wrong
// and gRPC's says that something is.
func probe(ctx context.Context, socket string) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	switch {
	case err == nil:
		return conn.Close()
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no socket %s; is weft running here? (\"weft up\" starts it, --socket names another socket)", socket)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("socket %s: no permission; administrators' sockets are for root", socket)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("nobody listens on socket %s; is weft running here? (\"weft up\" starts it)", socket)
	}
	return fmt.Errorf("connect to %s: %w", socket, err)
}
