// SPDX-License-Identifier: Apache-2.0

package workload_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/workload"
)

const childVariable = "WEFT_TEST_WORKLOAD_CHILD"

// TestMain lets the test binary be the workload: it calls the socket named in
// the environment once, says so, and waits for the end of its input.
func TestMain(m *testing.M) {
	socket, child := os.LookupEnv(childVariable)
	if !child {
		os.Exit(m.Run())
	}
	if socket != "" {
		if err := call(socket); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func call(socket string) error {
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err = grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	return err
}

// startChild starts a workload: in a namespace of its own, or in that at path.
func startChild(t *testing.T, path, socket string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+socket)
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if path == "" {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWNET
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := netns.Do(path, cmd.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || line != "ready\n" {
		t.Fatalf("child said %q: %v", line, err)
	}
	return cmd
}

func kill(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

func identify(t *testing.T, path string) netns.ID {
	t.Helper()
	id, err := netns.Identify(path)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func namespaceOf(cmd *exec.Cmd) string { return fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid) }

// serve starts a gRPC server that reports who called it.
func serve(t *testing.T) (socket string, callers <-chan workload.Peer) {
	t.Helper()
	seen := make(chan workload.Peer, 16)
	socket = filepath.Join(t.TempDir(), "agent.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(workload.NewCredentials()),
		grpc.UnaryInterceptor(func(ctx context.Context, _ any, _ *grpc.UnaryServerInfo, _ grpc.UnaryHandler) (any, error) {
			caller, err := workload.PeerFrom(ctx)
			if err != nil {
				return nil, err
			}
			seen <- caller
			return &grpc_health_v1.HealthCheckResponse{}, nil
		}))
	grpc_health_v1.RegisterHealthServer(server, grpc_health_v1.UnimplementedHealthServer{})
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return socket, seen
}

func TestPeerIsTheCallersNamespaceAndNoOther(t *testing.T) {
	testutil.Require(t, "netns")
	testutil.CheckLeaks(t)
	socket, callers := serve(t)
	here := identify(t, "")
	for range 2 {
		child := startChild(t, "", socket)
		caller := <-callers
		want := identify(t, namespaceOf(child))
		if caller.NetNS != want {
			t.Errorf("caller's namespace is %+v, want %+v", caller.NetNS, want)
		}
		if caller.NetNS == here {
			t.Error("caller's namespace is that of the server")
		}
		if caller.PID != child.Process.Pid || caller.UID != 0 {
			t.Errorf("caller is process %d of user %d", caller.PID, caller.UID)
		}
	}
}

func TestPeerWithoutCredentials(t *testing.T) {
	if _, err := workload.PeerFrom(t.Context()); err == nil {
		t.Error("a call from nowhere has a peer")
	}
}

// descriptorsOf counts this process' descriptors of a namespace.
func descriptorsOf(t *testing.T, id netns.ID) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, entry := range entries {
		var stat unix.Stat_t
		if unix.Stat("/proc/self/fd/"+entry.Name(), &stat) == nil && stat.Dev == id.Dev && stat.Ino == id.Ino {
			count++
		}
	}
	return count
}

func newWatcher(t *testing.T, dirs ...string) (*workload.Watcher, <-chan netns.ID) {
	t.Helper()
	gone := make(chan netns.ID, 16)
	w, err := workload.NewWatcher(workload.Options{
		LinkDir: filepath.Join(t.TempDir(), "links"), Dirs: dirs,
		Gone: func(id netns.ID) { gone <- id },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w, gone
}

func watch(t *testing.T, w *workload.Watcher, id netns.ID, hint string) workload.Ref {
	t.Helper()
	if err := w.Watch(id, hint); err != nil {
		t.Fatal(err)
	}
	return w.Path(id)
}

func TestLastProcessGone(t *testing.T) {
	testutil.Require(t, "netns")
	testutil.CheckLeaks(t)
	w, gone := newWatcher(t)
	first := startChild(t, "", "")
	id := identify(t, namespaceOf(first))
	second := startChild(t, namespaceOf(first), "")
	bystander := startChild(t, "", "")
	watch(t, w, identify(t, namespaceOf(bystander)), "")
	ref := watch(t, w, id, "")

	if n := descriptorsOf(t, id); n != 0 {
		t.Errorf("%d descriptors of the namespace are held", n)
	}
	if got := identify(t, ref.Path); got != id {
		t.Errorf("path leads to %+v, want %+v", got, id)
	}
	if !ref.Valid() {
		t.Error("path is not valid while the process lives")
	}

	kill(first)
	if ref.Valid() {
		t.Error("path by way of an ended process is valid")
	}
	kill(second)
	began := time.Now()
	if got := <-gone; got != id {
		t.Errorf("%+v is gone, want %+v", got, id)
	}
	t.Logf("told %v after the last process had ended", time.Since(began))
	if ref := w.Path(id); ref.Target != "" || ref.Valid() {
		t.Errorf("a gone namespace is reached by %+v", ref)
	}
	if target, err := os.Readlink(ref.Path); err != nil || target != os.DevNull {
		t.Errorf("the path to a gone namespace leads to %q, %v", target, err)
	}
	w.Unwatch(id)
	if _, err := os.Lstat(ref.Path); err == nil {
		t.Error("the link to a namespace that nobody watches remains")
	}
}

func TestPathSurvivesTheProcessItLedThrough(t *testing.T) {
	testutil.Require(t, "netns")
	testutil.CheckLeaks(t)
	w, gone := newWatcher(t)
	first := startChild(t, "", "")
	second := startChild(t, namespaceOf(first), "")
	id := identify(t, namespaceOf(second))
	ref := watch(t, w, id, namespaceOf(first))
	for _, cmd := range []*exec.Cmd{first, second} {
		if ref.Target != namespaceOf(cmd) {
			t.Fatalf("target is %s, want %s", ref.Target, namespaceOf(cmd))
		}
		startChild(t, namespaceOf(cmd), "")
		kill(cmd)
		ref = waitForOther(t, w, id, ref)
		if got := identify(t, ref.Path); got != id {
			t.Errorf("path leads to %+v, want %+v", got, id)
		}
		if cmd == first && ref.Target != namespaceOf(second) {
			break // process numbers have wrapped around
		}
	}
	select {
	case got := <-gone:
		t.Errorf("%+v is gone though a process is left", got)
	default:
	}
}

// waitForOther waits until the namespace is reached by another way.
func waitForOther(t *testing.T, w *workload.Watcher, id netns.ID, old workload.Ref) workload.Ref {
	t.Helper()
	for t.Context().Err() == nil {
		ref := w.Path(id)
		if ref.Target != old.Target {
			return ref
		}
	}
	t.FailNow()
	return workload.Ref{}
}

func TestNameKeepsNamespaceAlive(t *testing.T) {
	testutil.Require(t, "netns")
	testutil.CheckLeaks(t)
	w, gone := newWatcher(t)
	name := fmt.Sprintf("weft-test-%d", time.Now().UnixNano())
	path, err := netns.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netns.Delete(name) })
	id := identify(t, path)
	child := startChild(t, path, "")
	ref := watch(t, w, id, "")
	if ref.Target != path {
		t.Errorf("target is %s, want the name %s", ref.Target, path)
	}
	kill(child)
	child = startChild(t, path, "")
	if err := netns.Delete(name); err != nil {
		t.Fatal(err)
	}
	ref = waitForOther(t, w, id, ref)
	if ref.Target != namespaceOf(child) {
		t.Errorf("target is %s, want the process %s", ref.Target, namespaceOf(child))
	}
	kill(child)
	if got := <-gone; got != id {
		t.Errorf("%+v is gone, want %+v", got, id)
	}
}

func TestDeletedNameIsTold(t *testing.T) {
	testutil.Require(t, "netns")
	testutil.CheckLeaks(t)
	w, gone := newWatcher(t)
	name := fmt.Sprintf("weft-test-%d", time.Now().UnixNano())
	path, err := netns.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	id := identify(t, path)
	watch(t, w, id, path)
	if err := netns.Delete(name); err != nil {
		t.Fatal(err)
	}
	if got := <-gone; got != id {
		t.Errorf("%+v is gone, want %+v", got, id)
	}
}

func TestFoundAgainByIdentityOnly(t *testing.T) {
	testutil.Require(t, "netns")
	testutil.CheckLeaks(t)
	child := startChild(t, "", "")
	id := identify(t, namespaceOf(child))
	w, _ := newWatcher(t)
	watch(t, w, id, "/proc/1/ns/net") // the hint of a process that is another now
	w.Close()

	// The same inode with another cookie is another namespace.
	other := id
	other.Cookie++
	w, _ = newWatcher(t)
	if err := w.Watch(other, namespaceOf(child)); !errors.Is(err, workload.ErrGone) {
		t.Errorf("a namespace with another cookie was found: %v", err)
	}
	watch(t, w, id, "")
	w.Unwatch(id)
	if ref := w.Path(id); ref.Target != "" {
		t.Error("a namespace that is not watched has a path")
	}
}

func TestLinksOutliveTheWatcherUntilPruned(t *testing.T) {
	testutil.Require(t, "netns")
	testutil.CheckLeaks(t)
	child, other := startChild(t, "", ""), startChild(t, "", "")
	id, otherID := identify(t, namespaceOf(child)), identify(t, namespaceOf(other))
	options := workload.Options{LinkDir: t.TempDir()}
	w, err := workload.NewWatcher(options)
	if err != nil {
		t.Fatal(err)
	}
	ref, otherRef := watch(t, w, id, ""), watch(t, w, otherID, "")
	w.Close()
	w.Close()
	if w, err = workload.NewWatcher(options); err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if got := identify(t, ref.Path); got != id {
		t.Errorf("link leads to %+v, want %+v", got, id)
	}
	if again := watch(t, w, id, ""); again.Path != ref.Path {
		t.Errorf("path was %s and is %s", ref.Path, again.Path)
	}
	if err := w.Prune(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(ref.Path); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(otherRef.Path); err == nil {
		t.Error("the link that nobody needs remains")
	}
}

func TestWatchIsCounted(t *testing.T) {
	testutil.Require(t, "netns")
	testutil.CheckLeaks(t)
	child := startChild(t, "", "")
	id := identify(t, namespaceOf(child))
	w, _ := newWatcher(t)
	watch(t, w, id, "")
	watch(t, w, id, "")
	w.Unwatch(id)
	if ref := w.Path(id); !ref.Valid() {
		t.Error("not watched any more though only one of two users left")
	}
}
