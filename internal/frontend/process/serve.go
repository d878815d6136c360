// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weft-project/weft/internal/bfd/bfdnet"
	"github.com/weft-project/weft/internal/frontend"
	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/selfexec"
	frontendv1 "github.com/weft-project/weft/pkg/api/frontend/v1"
)

// serveEnv makes a program a frontend's process; its value is a serveConfig.
const serveEnv = "WEFT_FRONTEND_PROCESS"

// serveConfig is what a process is told when it starts. It has no secrets.
type serveConfig struct {
	Socket     string
	Lease      time.Duration
	Restarting bool
}

// refresh is how often a Watch tells counters that nothing else has changed with.
const refresh = time.Second

// MaybeServe turns the process into a frontend's if Start has started it as such,
// and does not return then. Programs that use the package call it first in main,
// tests in TestMain.
func MaybeServe() { selfexec.Serve(serveEnv, serve) }

func serve(config serveConfig, ready io.Closer) error {
	if _, err := bfdnet.Prioritise(); err != nil {
		return err
	}
	// The terminal's signals and a closed one are the parent's business.
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGPIPE)
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)

	lock, err := lockSocket(config.Socket)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	build, err := thisBuild()
	if err != nil {
		return err
	}
	namespace, err := netns.Inode("/proc/self/ns/net")
	if err != nil {
		return err
	}
	f, err := frontend.Start(frontend.Options{Log: slog.New(slog.DiscardHandler), Restarting: config.Restarting})
	if err != nil {
		return err
	}
	s := &server{
		frontend: f, build: build, namespace: namespace, lease: config.Lease, ended: make(chan bool, 1), answer: make(chan error, 1),
		timer: time.NewTimer(config.Lease),
	}
	listener, err := listen(config.Socket)
	if err != nil {
		return errors.Join(err, f.Close(context.Background()))
	}
	g := grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage))
	frontendv1.RegisterSpeakerServer(g, s)
	go func() { _ = g.Serve(listener) }()
	if err := ready.Close(); err != nil {
		return err
	}
	restarting := false
	select {
	case <-end:
	case restarting = <-s.ended:
	case <-s.timer.C: // nobody is there any more
	}
	if restarting {
		err = f.CloseRestarting()
	} else {
		err = f.Close(context.Background())
	}
	// The answer to End is what the caller waits for.
	s.answer <- err
	g.GracefulStop()
	return err
}

// maxMessage bounds a message with some ten thousand routes.
const maxMessage = 64 << 20

// lockSocket makes sure that one process serves a socket.
func lockSocket(socket string) (*os.File, error) {
	file, err := os.OpenFile(socket+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: another process serves there: %w", socket, err), file.Close())
	}
	return file, nil
}

// listen replaces a socket that a killed process has left.
func listen(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove old socket: %w", err)
	}
	old := unix.Umask(0o177)
	defer unix.Umask(old)
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen for control: %w", err)
	}
	return listener, nil
}

// thisBuild identifies the program file, so that an upgraded one is told from the
// one before.
func thisBuild() (string, error) {
	var stat unix.Stat_t
	if err := unix.Stat("/proc/self/exe", &stat); err != nil {
		return "", fmt.Errorf("stat program: %w", err)
	}
	return fmt.Sprintf("%d:%d:%d:%d.%d", stat.Dev, stat.Ino, stat.Size, stat.Mtim.Sec, stat.Mtim.Nsec), nil
}

// server is the Speaker service.
type server struct {
	frontendv1.UnimplementedSpeakerServer
	frontend  *frontend.Frontend
	build     string
	namespace uint64
	ended     chan bool
	answer    chan error // the result of the end, capacity 1

	mu       sync.Mutex
	config   *frontendv1.Config
	lease    time.Duration
	watchers int
	timer    *time.Timer // runs while nobody watches
}

// renew begins the lease again.
func (s *server) renew(lease time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if lease > 0 {
		s.lease = lease
	}
	if s.watchers == 0 {
		s.timer.Reset(s.lease)
	}
}

// Get implements frontendv1.SpeakerServer.
func (s *server) Get(context.Context, *frontendv1.GetRequest) (*frontendv1.GetResponse, error) {
	s.renew(0)
	s.mu.Lock()
	defer s.mu.Unlock()
	return &frontendv1.GetResponse{
		Build: s.build, Config: s.config, Status: ToStatus(s.frontend.Status()), NetworkNamespace: s.namespace,
	}, nil
}

// Apply implements frontendv1.SpeakerServer.
func (s *server) Apply(ctx context.Context, r *frontendv1.ApplyRequest) (*frontendv1.ApplyResponse, error) {
	s.renew(r.GetLease().AsDuration())
	config, err := fromConfig(r.GetConfig())
	if err == nil {
		err = config.Validate()
	}
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if err := s.frontend.Set(ctx, config); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.config = r.GetConfig()
	return &frontendv1.ApplyResponse{}, nil
}

// Watch implements frontendv1.SpeakerServer.
func (s *server) Watch(r *frontendv1.WatchRequest, stream grpc.ServerStreamingServer[frontendv1.Status]) error {
	s.watch(1, r.GetLease().AsDuration())
	defer s.watch(-1, 0)
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	// One goroutine sends: changes come by the first, counters by the ticker.
	news := make(chan struct{}, 1)
	done := make(chan error, 1)
	go func() {
		done <- s.frontend.Watch(ctx, func(frontend.Status) {
			select {
			case news <- struct{}{}:
			default:
			}
		})
	}()
	tick := time.NewTicker(refresh)
	defer tick.Stop()
	for {
		select {
		case <-news:
		case <-tick.C:
		case err := <-done:
			return err
		}
		if err := stream.Send(ToStatus(s.frontend.Status())); err != nil {
			cancel()
			<-done
			return err
		}
	}
}

// watch counts who watches; while somebody does, the lease does not end.
func (s *server) watch(more int, lease time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if lease > 0 {
		s.lease = lease
	}
	s.watchers += more
	if s.watchers > 0 {
		s.timer.Stop()
	} else {
		s.timer.Reset(s.lease)
	}
}

// End implements frontendv1.SpeakerServer.
func (s *server) End(ctx context.Context, r *frontendv1.EndRequest) (*frontendv1.EndResponse, error) {
	select {
	case s.ended <- r.GetRestarting():
	default: // it ends already
		return nil, status.Error(codes.Unavailable, "the process ends")
	}
	select {
	case err := <-s.answer:
		if err != nil {
			return nil, status.Error(codes.Internal, err.Error())
		}
		return &frontendv1.EndResponse{}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
