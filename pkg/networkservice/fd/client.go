// SPDX-License-Identifier: Apache-2.0

package fd

import (
	"context"
	"fmt"
	"os"
	"sync"
	"syscall"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/common"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

type client struct{}

// NewClient returns the element that sends the descriptors of a Request and
// receives that of the answer.
func NewClient() networkservice.NetworkServiceClient { return client{} }

func (client) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	call := &call{}
	defer call.close()
	request = request.Clone()
	original := make(map[string]string) // inode URL -> what the caller wrote
	for _, mechanism := range mechanismsOf(request) {
		text := inodeURLOf(mechanism)
		if !isFile(text) && filesOf(ctx).get(text) == nil {
			continue
		}
		file, key, err := open(ctx, text)
		if err != nil {
			return nil, status.Errorf(codes.FailedPrecondition, "mechanism parameter %s: %v", common.InodeURL, err)
		}
		swapped := key.url()
		mechanism.Parameters[common.InodeURL] = swapped
		if _, sent := original[swapped]; sent {
			_ = file.Close()
			continue
		}
		original[swapped] = text
		call.files = append(call.files, file)
	}
	conn, err := next.Client(ctx).Request(ctx, request, append(opts, grpc.PerRPCCredentials(call))...)
	if err != nil {
		return nil, err
	}
	text := inodeURLOf(conn.GetMechanism())
	if was, ok := original[text]; ok {
		conn.GetMechanism().GetParameters()[common.InodeURL] = was
	} else if received := filesOf(ctx); received != nil && isInode(text) {
		if err := call.receive(ctx, text, received); err != nil {
			_, _ = next.Client(ctx).Close(ctx, conn, opts...)
			return nil, status.Errorf(codes.FailedPrecondition, "mechanism parameter %s %s of the answer: receive descriptor: %v", common.InodeURL, text, err)
		}
	}
	return conn, nil
}

// Close sends the descriptor, too: who cleans up needs the way into the
// namespace once more. One that is gone does not hinder closing.
func (client) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	text := inodeURLOf(conn.GetMechanism())
	if !isFile(text) && filesOf(ctx).get(text) == nil {
		return next.Client(ctx).Close(ctx, conn, opts...)
	}
	file, key, err := open(ctx, text)
	if err != nil {
		return next.Client(ctx).Close(ctx, conn, opts...)
	}
	call := &call{files: []*os.File{file}}
	defer call.close()
	conn = conn.Clone()
	conn.GetMechanism().GetParameters()[common.InodeURL] = key.url()
	return next.Client(ctx).Close(ctx, conn, append(opts, grpc.PerRPCCredentials(call))...)
}

// open opens the file behind a namespace URL and tells its inode.
func open(ctx context.Context, text string) (*os.File, inode, error) {
	path, err := Path(ctx, text)
	if err != nil {
		return nil, inode{}, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, inode{}, err
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close()
		return nil, inode{}, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		_ = file.Close()
		return nil, inode{}, fmt.Errorf("%s: no inode", path)
	}
	return file, inode{dev: stat.Dev, ino: stat.Ino}, nil
}

// call sends files when its RPC gets a connection: as credentials, because only
// those see the connection before the headers are written. A retry sends again,
// on its own connection.
type call struct {
	files []*os.File

	mu   sync.Mutex
	conn *conn
}

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (c *call) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	if conn := connOf(ctx); conn != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.conn = conn
		for _, file := range c.files {
			conn.SendFile(file)
		}
	}
	return nil, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials: descriptors
// travel over unix sockets only.
func (c *call) RequireTransportSecurity() bool { return false }

func (c *call) receive(ctx context.Context, text string, into *files) error {
	if into.get(text) != nil {
		return nil
	}
	c.mu.Lock()
	conn := c.conn
	c.mu.Unlock()
	if conn == nil {
		return fmt.Errorf("the connection carries no descriptors, a unix socket would")
	}
	key, err := parseInode(text)
	if err != nil {
		return err
	}
	file, err := conn.receive(ctx, key)
	if err != nil {
		return err
	}
	into.put(text, file)
	return nil
}

func (c *call) close() {
	for _, file := range c.files {
		_ = file.Close()
	}
}
