// SPDX-License-Identifier: Apache-2.0

package fd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/testutil"
)

// pair returns two ends of a unix socket.
func pair(t *testing.T) (*conn, *conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*conn
	for i, fd := range fds {
		file := os.NewFile(uintptr(fd), "end")
		raw, err := net.FileConn(file)
		_ = file.Close()
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = newConn(raw.(*net.UnixConn))
		t.Cleanup(func() { _ = ends[i].Close() })
	}
	return ends[0], ends[1]
}

// subject makes a file and returns its path and inode.
func subject(t *testing.T, content string) (string, inode) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "subject")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, inodeOf(t, path)
}

func inodeOf(t *testing.T, path string) inode {
	t.Helper()
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		t.Fatal(err)
	}
	return inode{stat.Dev, stat.Ino}
}

// held counts the descriptors of this process that lead to path.
func held(t *testing.T, path string) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, entry := range entries {
		if target, err := os.Readlink("/proc/self/fd/" + entry.Name()); err == nil && target == path {
			count++
		}
	}
	return count
}

// wantHeld waits: a sender closes its copy when it has sent it, and that may be
// after the answer.
func wantHeld(t *testing.T, path string, want int) {
	t.Helper()
	what := fmt.Sprintf("%d open descriptors of %s", want, path)
	testutil.Eventually(t, 10*time.Second, what, func() bool { return held(t, path) == want })
}

func TestDescriptorsRideOnBytes(t *testing.T) {
	a, b := pair(t)
	const files = 2*maxPerWrite + 7 // more than fit beside one write
	paths, keys := make([]string, files), make([]inode, files)
	sent := make([]<-chan error, files)
	for i := range files {
		paths[i], keys[i] = subject(t, fmt.Sprint(i))
		sent[i] = a.SendFilename(paths[i])
	}
	if n, err := a.Write([]byte("some bytes")); n != 10 || err != nil {
		t.Fatalf("wrote %d, %v", n, err)
	}
	for i, done := range sent {
		if err := <-done; err != nil {
			t.Fatalf("descriptor %d: %v", i, err)
		}
	}
	var got strings.Builder
	buffer := make([]byte, 64)
	for got.Len() < 10 {
		n, err := b.Read(buffer)
		if err != nil {
			t.Fatal(err)
		}
		got.Write(buffer[:n])
	}
	if got.String() != "some bytes" {
		t.Errorf("read %q", got.String())
	}
	for i, key := range keys {
		file, err := b.receive(t.Context(), key)
		if err != nil {
			t.Fatalf("receive %d: %v", i, err)
		}
		// The received descriptor may not be readable itself; its path is.
		content, err := os.ReadFile(file.Name())
		if err != nil || string(content) != fmt.Sprint(i) {
			t.Errorf("file %d holds %q, %v", i, content, err)
		}
		if err := file.Close(); err != nil {
			t.Error(err)
		}
		wantHeld(t, paths[i], 0)
	}
}

func TestReceiveWaitsAndGivesUp(t *testing.T) {
	a, b := pair(t)
	path, key := subject(t, "x")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.receive(ctx, key); !errors.Is(err, context.Canceled) {
		t.Errorf("receive without a sender: %v", err)
	}
	got := make(chan *os.File)
	go func() {
		file, _ := b.receive(t.Context(), key)
		got <- file
	}()
	a.SendFilename(path)
	go func() { _, _ = b.Read(make([]byte, 8)) }()
	if _, err := a.Write([]byte("y")); err != nil {
		t.Fatal(err)
	}
	file := <-got
	if file == nil {
		t.Fatal("nothing received")
	}
	_ = file.Close()
	// The receiver that had given up must not have taken one.
	wantHeld(t, path, 0)
	if len(b.parked)+len(b.waiters) != 0 {
		t.Errorf("remain: parked %v, waiters %v", b.parked, b.waiters)
	}
}

func TestArrivalsAreCountedForConcurrentRequests(t *testing.T) {
	_, b := pair(t)
	path, key := subject(t, "x")
	arrive := func() {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		b.arriveOne(fd)
	}
	arrive()
	arrive() // for another request
	wantHeld(t, path, 1)
	for range 2 {
		file, err := b.receive(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		_ = file.Close()
	}
	wantHeld(t, path, 0)
}

func TestUnclaimedDescriptorIsClosed(t *testing.T) {
	_, b := pair(t)
	path, _ := subject(t, "x")
	synctest.Test(t, func(t *testing.T) {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		b.arriveOne(fd)
		time.Sleep(lingerTime - time.Nanosecond)
		synctest.Wait()
		wantHeld(t, path, 1)
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		wantHeld(t, path, 0)
	})
}

func TestCloseReleasesEverything(t *testing.T) {
	a, b := pair(t)
	path, key := subject(t, "x")
	queued := a.SendFilename(path)
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	a.arriveOne(fd)
	wantHeld(t, path, 2)
	other, otherKey := subject(t, "y")
	waiting := a.RecvFile(otherKey.dev, otherKey.ino)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-queued; !errors.Is(err, errConnClosed) {
		t.Errorf("queued descriptor: %v", err)
	}
	if file := <-waiting; file != nil {
		t.Errorf("waiting receiver got %v", file)
	}
	if _, err := a.receive(t.Context(), key); !errors.Is(err, errConnClosed) {
		t.Errorf("receive on a closed connection: %v", err)
	}
	if err := <-a.SendFilename(other); !errors.Is(err, errConnClosed) {
		t.Errorf("send on a closed connection: %v", err)
	}
	wantHeld(t, path, 0)
	wantHeld(t, other, 0)
	if _, err := b.Read(make([]byte, 1)); err == nil {
		t.Error("the peer reads on")
	}
}

func TestSendMissingFile(t *testing.T) {
	a, _ := pair(t)
	if err := <-a.SendFilename("/no/such/file"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func TestRecvFDOwnsItsDescriptor(t *testing.T) {
	_, b := pair(t)
	path, key := subject(t, "x")
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	b.arriveOne(fd)
	ch, err := b.RecvFDByURL(key.url())
	if err != nil {
		t.Fatal(err)
	}
	got := <-ch
	if again := inodeOf(t, fmt.Sprintf("/proc/self/fd/%d", got)); again != key {
		t.Errorf("received %v, want %v", again, key)
	}
	_ = unix.Close(int(got))
	if _, open := <-ch; open {
		t.Error("the channel stays open")
	}
	wantHeld(t, path, 0)
}

func TestParseInode(t *testing.T) {
	if got, err := parseInode("inode://4/4026531840"); err != nil || got != (inode{4, 4026531840}) || got.url() != "inode://4/4026531840" {
		t.Errorf("%v, %v", got, err)
	}
	for _, text := range []string{"inode://x/1", "inode://1", "inode://1/2/3", "inode://-1/1", "file:///x", "%", "inode://1/99999999999999999999"} {
		if got, err := parseInode(text); err == nil {
			t.Errorf("%s is %v", text, got)
		}
	}
}
