// SPDX-License-Identifier: Apache-2.0

package fd

import (
	"context"
	"os"
	"time"

	"github.com/edwarnicke/grpcfd"
	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/common"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/tools/postpone"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

type server struct{}

// NewServer returns the element that receives the descriptors of a Request.
func NewServer() networkservice.NetworkServiceServer { return server{} }

func (server) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	received := &files{byURL: make(map[string]*os.File)}
	defer received.close()
	if c := connOf(ctx); c != nil {
		for _, mechanism := range mechanismsOf(request) {
			// The sender sends once per URL, however many mechanisms name it; what
			// the SDK's sends more than that is dropped by the connection.
			text := inodeURLOf(mechanism)
			if !isInode(text) || received.get(text) != nil {
				continue
			}
			key, err := parseInode(text)
			if err != nil {
				return nil, status.Errorf(codes.InvalidArgument, "mechanism parameter %s: %v", common.InodeURL, err)
			}
			file, err := c.receive(ctx, key)
			if err != nil {
				return nil, status.Errorf(codes.FailedPrecondition, "mechanism parameter %s %s: receive descriptor: %v", common.InodeURL, text, err)
			}
			received.put(text, file)
		}
	}
	return next.Server(ctx).Request(withFiles(ctx, received), request)
}

// closeWait bounds the wait for a descriptor that comes with Close. It arrives
// no later than the call itself; when it is not there, the sender could not open
// it any more.
const closeWait = 20 * time.Millisecond

func (server) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	received := &files{byURL: make(map[string]*os.File)}
	defer received.close()
	text := inodeURLOf(conn.GetMechanism())
	if c := connOf(ctx); c != nil && isInode(text) {
		if key, err := parseInode(text); err == nil {
			wait, cancel := context.WithTimeout(ctx, closeWait)
			if file, err := c.receive(wait, key); err == nil {
				received.put(text, file)
			}
			cancel()
		}
	}
	return next.Server(ctx).Close(withFiles(ctx, received), conn)
}

// connOf returns the connection on which the request of ctx came, if it carries
// descriptors.
func connOf(ctx context.Context) *conn {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil
	}
	c, _ := p.Addr.(*conn)
	return c
}

type answerServer struct{}

// NewAnswerServer returns the element that sends the namespace of an endpoint's
// answer over a connection that can carry it.
func NewAnswerServer() networkservice.NetworkServiceServer { return answerServer{} }

func (answerServer) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	closeContext := postpone.ContextWithValues(ctx)
	conn, err := next.Server(ctx).Request(ctx, request)
	if err != nil {
		return nil, err
	}
	text := inodeURLOf(conn.GetMechanism())
	sender, ok := grpcfd.FromContext(ctx)
	if !ok || !isFile(text) {
		return conn, nil
	}
	file, key, err := open(ctx, text)
	if err != nil {
		closeCtx, cancel := closeContext()
		defer cancel()
		_, _ = next.Server(closeCtx).Close(closeCtx, conn)
		return nil, status.Errorf(codes.Internal, "mechanism parameter %s: %v", common.InodeURL, err)
	}
	sender.SendFile(file)
	_ = file.Close()
	conn = conn.Clone() // the elements after this one may keep theirs
	conn.GetMechanism().GetParameters()[common.InodeURL] = key.url()
	return conn, nil
}

func (answerServer) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	return next.Server(ctx).Close(ctx, conn)
}
