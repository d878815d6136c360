// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weft-project/weft/internal/resource"
	daemonv1 "github.com/weft-project/weft/pkg/api/daemon/v1"
	"github.com/weft-project/weft/pkg/apis/v1alpha1"
)

// Options are what the server tells about the daemon around it.
type Options struct {
	// Started is when the daemon started; default: when the server is made.
	Started time.Time
	Version *daemonv1.VersionResponse
	// Components returns the state of the daemon's parts; may be nil.
	Components func() []*daemonv1.Component
}

// Server implements daemonv1.DaemonServer.
type Server struct {
	daemonv1.UnimplementedDaemonServer
	store *resource.Store
	opts  Options
}

// NewServer returns a server over a store.
func NewServer(store *resource.Store, opts Options) *Server {
	if opts.Started.IsZero() {
		opts.Started = time.Now()
	}
	if opts.Version == nil {
		opts.Version = &daemonv1.VersionResponse{}
	}
	return &Server{store: store, opts: opts}
}

// Register adds the service to a gRPC server.
func (s *Server) Register(r grpc.ServiceRegistrar) { daemonv1.RegisterDaemonServer(r, s) }

// Apply implements daemonv1.DaemonServer.
func (s *Server) Apply(_ context.Context, req *daemonv1.ApplyRequest) (*daemonv1.ApplyResponse, error) {
	var files []resource.File
	for _, m := range req.GetManifests() {
		files = append(files, resource.File{Name: m.GetName(), Data: m.GetYaml()})
	}
	result, err := s.store.Apply(files, resource.ApplyOptions{DryRun: req.GetDryRun(), Prune: req.GetPrune()})
	if err != nil {
		return nil, refusal(err, codes.InvalidArgument)
	}
	return &daemonv1.ApplyResponse{
		Changes: changes(result.Changes), Warnings: problems(result.Warnings), Generation: result.Generation,
	}, nil
}

// Delete implements daemonv1.DaemonServer.
func (s *Server) Delete(_ context.Context, req *daemonv1.DeleteRequest) (*daemonv1.DeleteResponse, error) {
	var keys []resource.Key
	for i, k := range req.GetObjects() {
		key, err := parseKey(k)
		if err != nil {
			return nil, fieldError("objects", i, err)
		}
		keys = append(keys, key)
	}
	result, err := s.store.Delete(keys, resource.DeleteOptions{
		DryRun: req.GetDryRun(), IgnoreNotFound: req.GetIgnoreNotFound(),
	})
	if err != nil {
		return nil, refusal(err, codes.FailedPrecondition)
	}
	return &daemonv1.DeleteResponse{Changes: changes(result.Changes), Generation: result.Generation}, nil
}

// Get implements daemonv1.DaemonServer.
func (s *Server) Get(_ context.Context, req *daemonv1.GetRequest) (*daemonv1.GetResponse, error) {
	key, err := parseKey(req.GetObject())
	if err != nil {
		return nil, fieldError("object", -1, err)
	}
	o, ok := s.store.Snapshot().Get(key)
	if !ok {
		return nil, notFound(key)
	}
	object, err := toObject(o)
	if err != nil {
		return nil, err
	}
	return &daemonv1.GetResponse{Object: object}, nil
}

// List implements daemonv1.DaemonServer.
func (s *Server) List(_ context.Context, req *daemonv1.ListRequest) (*daemonv1.ListResponse, error) {
	sel, err := newSelector(req)
	if err != nil {
		return nil, err
	}
	snapshot := s.store.Snapshot()
	resp := &daemonv1.ListResponse{Generation: snapshot.Generation}
	resp.Objects, err = toObjects(sel.of(snapshot))
	return resp, err
}

// Watch implements daemonv1.DaemonServer.
func (s *Server) Watch(req *daemonv1.WatchRequest, stream daemonv1.Daemon_WatchServer) error {
	sel, err := newSelector(req)
	if err != nil {
		return err
	}
	// Subscribe first, so that no change falls between the snapshot and the
	// first wait.
	changed, cancel := s.store.Subscribe()
	defer cancel()
	sent := sel.of(s.store.Snapshot())
	if err := send(stream, daemonv1.WatchResponse_SNAPSHOT, sent); err != nil {
		return err
	}
	for {
		select {
		case <-stream.Context().Done():
			return stream.Context().Err()
		case <-changed:
		}
		now := sel.of(s.store.Snapshot())
		added, removed := difference(sent, now)
		if len(removed) > 0 {
			if err := send(stream, daemonv1.WatchResponse_REMOVED, removed); err != nil {
				return err
			}
		}
		if len(added) > 0 {
			if err := send(stream, daemonv1.WatchResponse_CHANGED, added); err != nil {
				return err
			}
		}
		sent = now
	}
}

func send(stream daemonv1.Daemon_WatchServer, kind daemonv1.WatchResponse_Kind, list []v1alpha1.Object) error {
	objects, err := toObjects(list)
	if err != nil {
		return err
	}
	return stream.Send(&daemonv1.WatchResponse{Kind: kind, Objects: objects})
}

// difference compares two lists. Objects of snapshots are never written, so an
// object that is the same value is the same object.
func difference(before, after []v1alpha1.Object) (changed, removed []v1alpha1.Object) {
	had := make(map[resource.Key]v1alpha1.Object, len(before))
	for _, o := range before {
		had[resource.KeyOf(o)] = o
	}
	for _, o := range after {
		key := resource.KeyOf(o)
		if had[key] != o {
			changed = append(changed, o)
		}
		delete(had, key)
	}
	for _, o := range before {
		if _, gone := had[resource.KeyOf(o)]; gone {
			removed = append(removed, o)
		}
	}
	return changed, removed
}

// Status implements daemonv1.DaemonServer.
func (s *Server) Status(context.Context, *daemonv1.StatusRequest) (*daemonv1.StatusResponse, error) {
	snapshot := s.store.Snapshot()
	resp := &daemonv1.StatusResponse{
		Started:    timestamppb.New(s.opts.Started),
		Generation: snapshot.Generation,
		Objects:    int32(snapshot.Len()),
	}
	if s.opts.Components != nil {
		resp.Components = s.opts.Components()
	}
	return resp, nil
}

// Version implements daemonv1.DaemonServer.
func (s *Server) Version(context.Context, *daemonv1.VersionRequest) (*daemonv1.VersionResponse, error) {
	return s.opts.Version, nil
}
