// SPDX-License-Identifier: Apache-2.0

package netns_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/testutil"
)

func inode(t testing.TB, path string) uint64 {
	t.Helper()
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		t.Fatal(err)
	}
	return stat.Ino
}

const here = "/proc/thread-self/ns/net"

func TestDoEntersAndReturns(t *testing.T) {
	testutil.Require(t, "netns")
	testutil.CheckLeaks(t)
	path := testutil.NetNS(t)
	home := inode(t, "/proc/self/ns/net")
	var inside uint64
	errWanted := errors.New("wanted")
	err := netns.Do(path, func() error {
		inside = inode(t, here)
		return errWanted
	})
	if !errors.Is(err, errWanted) {
		t.Fatalf("error %v does not pass through", err)
	}
	if inside != inode(t, path) || inside == home {
		t.Fatalf("ran in namespace %d, want %d", inside, inode(t, path))
	}
	if got := inode(t, here); got != home {
		t.Fatalf("back in namespace %d, want %d", got, home)
	}
}

func TestDoNests(t *testing.T) {
	testutil.Require(t, "netns")
	a, b := testutil.NetNS(t), testutil.NetNS(t)
	err := netns.Do(a, func() error {
		err := netns.Do(b, func() error {
			if inode(t, here) != inode(t, b) {
				t.Error("inner function is not in the inner namespace")
			}
			return nil
		})
		if inode(t, here) != inode(t, a) {
			t.Error("outer function has left the outer namespace")
		}
		return errors.Join(err, netns.Do("", func() error {
			if inode(t, here) != inode(t, a) {
				t.Error("the empty path is not the current namespace")
			}
			return nil
		}))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The main thread's namespace is what others see of the process.
func TestDoKeepsTheMainThread(t *testing.T) {
	testutil.Require(t, "netns")
	path := testutil.NetNS(t)
	home := inode(t, "/proc/self/ns/net")
	var group sync.WaitGroup
	for range 4 * runtime.NumCPU() {
		group.Go(func() {
			for range 50 {
				err := netns.Do(path, func() error {
					if unix.Gettid() == unix.Getpid() || inode(t, "/proc/self/ns/net") != home {
						return errors.New("the main thread is in the namespace")
					}
					return nil
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
}

func TestDoPassesPanicAndGoexit(t *testing.T) {
	testutil.Require(t, "netns")
	testutil.CheckLeaks(t)
	path := testutil.NetNS(t)
	home := inode(t, here)
	func() {
		defer func() {
			if got := recover(); got != "thrown" {
				t.Errorf("recovered %v, want the panic of fn", got)
			}
		}()
		_ = netns.Do(path, func() error { panic("thrown") })
	}()
	ended := make(chan bool, 1)
	go func() {
		after := false
		defer func() { ended <- after }()
		_ = netns.Do(path, func() error { runtime.Goexit(); return nil })
		after = true
	}()
	if <-ended {
		t.Error("Goexit of fn did not end the caller")
	}
	if inode(t, here) != home {
		t.Error("the thread did not return")
	}
}

func TestDoMissing(t *testing.T) {
	testutil.Require(t, "netns")
	testutil.CheckLeaks(t)
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/run/netns/missing", "/proc/4194305/ns/net", plain, plain + "/below"} {
		err := netns.Do(path, func() error { t.Error("ran"); return nil })
		if !errors.Is(err, netns.ErrNotFound) {
			t.Errorf("Do(%s): %v, want ErrNotFound", path, err)
		}
		if _, err := netns.Identify(path); !errors.Is(err, netns.ErrNotFound) {
			t.Errorf("Identify(%s): %v, want ErrNotFound", path, err)
		}
	}
	if err := netns.Do("/proc/self/ns/mnt", func() error { t.Error("ran"); return nil }); err == nil {
		t.Error("a mount namespace was accepted")
	}
}

func TestIdentify(t *testing.T) {
	testutil.Require(t, "netns")
	testutil.CheckLeaks(t)
	a, b := testutil.NetNS(t), testutil.NetNS(t)
	ids := map[netns.ID]string{}
	for _, path := range []string{"", a, b} {
		id, err := netns.Identify(path)
		if err != nil {
			t.Fatal(err)
		}
		again, err := netns.Identify(path)
		if err != nil || again != id {
			t.Errorf("Identify(%q) = %v then %v, %v", path, id, again, err)
		}
		if other, taken := ids[id]; taken || id.Cookie == 0 || id.Ino == 0 || id.Dev == 0 {
			t.Errorf("Identify(%q) = %+v, the same as of %q or incomplete", path, id, other)
		}
		ids[id] = path
	}
	inA, err := netns.Identify(a)
	if err != nil {
		t.Fatal(err)
	}
	err = netns.Do(a, func() error {
		id, err := netns.Identify("")
		if id != inA {
			t.Errorf("from inside: %+v, from outside %+v", id, inA)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestFind(t *testing.T) {
	testutil.Require(t, "netns")
	testutil.CheckLeaks(t)
	path := testutil.NetNS(t)
	inode, err := netns.Inode(path)
	if err != nil {
		t.Fatal(err)
	}
	if found := slices.Collect(netns.Find(inode)); !slices.Contains(found, path) {
		t.Errorf("named namespace found at %v, want %s", found, path)
	}
	own, err := netns.Inode("")
	if err != nil {
		t.Fatal(err)
	}
	process := fmt.Sprintf("/proc/%d/ns/net", os.Getpid())
	if found := slices.Collect(netns.Find(own)); !slices.Contains(found, process) {
		t.Errorf("own namespace found at %v, want %s", found, process)
	}
	testutil.DeleteNetNS(t, path)
	if found := slices.Collect(netns.Find(inode)); slices.Contains(found, path) {
		t.Errorf("dead namespace found at %v", found)
	}
}

func TestNames(t *testing.T) {
	testutil.Require(t, "netns")
	testutil.CheckLeaks(t)
	name := testutil.RandomName("wt-")
	path, err := netns.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if path != netns.Path(name) {
		t.Errorf("path %s, want %s", path, netns.Path(name))
	}
	if _, err := netns.Create(name); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second Create: %v, want ErrExist", err)
	}
	names, err := netns.List()
	if err != nil || !slices.Contains(names, name) {
		t.Errorf("List = %v, %v, want it to contain %s", names, err, name)
	}
	if err := netns.Delete(name); err != nil {
		t.Error(err)
	}
	if err := netns.Delete(name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("second Delete: %v, want ErrNotExist", err)
	}
	if names, _ := netns.List(); slices.Contains(names, name) {
		t.Errorf("List still contains %s", name)
	}
	for _, bad := range []string{"", ".", "..", "a/b", "/etc"} {
		if _, err := netns.Create(bad); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("Create(%q): %v, want ErrInvalid", bad, err)
		}
		if err := netns.Delete(bad); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("Delete(%q): %v, want ErrInvalid", bad, err)
		}
	}
}

func TestCreateManyAtOnce(t *testing.T) {
	testutil.Require(t, "netns")
	testutil.CheckLeaks(t)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			name := testutil.RandomName("wt-")
			if _, err := netns.Create(name); err != nil {
				t.Error(err)
				return
			}
			if err := netns.Delete(name); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	stacked := 0
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[1] == netns.Dir {
			stacked++
		}
	}
	if stacked != 1 {
		t.Errorf("%s is mounted %d times, want once", netns.Dir, stacked)
	}
}

// A dead namespace's socket and interfaces go with it: nothing of Do may hold
// it while fn runs.
func TestSocketsStayInTheNamespace(t *testing.T) {
	testutil.Require(t, "netns")
	path := testutil.NetNS(t)
	addr := testutil.Echo(t, path, "127.0.0.1:0")
	testutil.MustExchange(t, path, "tcp", "", addr)
	testutil.MustExchange(t, path, "udp", "", addr)
	if c, err := net.Dial("tcp", addr); err == nil {
		_ = c.Close()
		t.Error("the server is reachable from outside its namespace")
	}
}
