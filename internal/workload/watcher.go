// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/netns"
)

// ErrGone says that no process and no name of a namespace is left.
var ErrGone = errors.New("network namespace is gone")

// checkMillis is how often names are checked without an event: an unmount that
// leaves the file behind causes none.
const checkMillis = 5000

// Options of a Watcher.
type Options struct {
	// LinkDir gets one symbolic link per watched namespace, which always leads
	// to it: a path that stays the same while processes come and go. Made if
	// missing; links in it from an earlier run are removed.
	LinkDir string
	// Dirs hold names of namespaces. Default /run/netns.
	Dirs []string
	// Gone is called once for each watched namespace that has died, from the
	// watcher's goroutine. The namespace is not watched any more then.
	Gone func(netns.ID)
}

// Watcher watches namespaces until they die.
type Watcher struct {
	options Options
	epoll   int
	inotify int
	wake    int // eventfd: Close
	done    chan struct{}

	mu     sync.Mutex
	closed bool
	dirs   []string // watched by inotify
	spaces map[netns.ID]*space
}

type space struct {
	anchor
	uses int
	// generation grows with every change of the anchor.
	generation int
}

// NewWatcher starts a watcher.
func NewWatcher(options Options) (*Watcher, error) {
	if options.Dirs == nil {
		options.Dirs = []string{netns.Dir}
	}
	if err := clearLinks(options.LinkDir); err != nil {
		return nil, err
	}
	w := &Watcher{
		options: options, epoll: -1, inotify: -1, wake: -1,
		done:   make(chan struct{}),
		spaces: make(map[netns.ID]*space),
	}
	if err := w.open(); err != nil {
		w.closeFiles()
		return nil, fmt.Errorf("watch namespaces: %w", err)
	}
	go w.run()
	return w, nil
}

func (w *Watcher) open() (err error) {
	if w.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	if w.inotify, err = unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK); err != nil {
		return err
	}
	if w.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return err
	}
	w.watchDirs()
	return errors.Join(w.poll(w.inotify), w.poll(w.wake))
}

func (w *Watcher) poll(fd int) error {
	return unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

// watchDirs asks for the events of those directories that exist by now.
func (w *Watcher) watchDirs() {
	for _, dir := range w.options.Dirs {
		if slices.Contains(w.dirs, dir) {
			continue
		}
		mask := uint32(unix.IN_DELETE | unix.IN_MOVE | unix.IN_DELETE_SELF | unix.IN_UNMOUNT)
		if _, err := unix.InotifyAddWatch(w.inotify, dir, mask); err == nil {
			w.dirs = append(w.dirs, dir)
		}
	}
}

// Watch starts to watch a namespace. hint is a path that may lead to it; a
// name outside the known directories makes its directory known. Each Watch
// needs an Unwatch.
func (w *Watcher) Watch(id netns.ID, hint string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return errors.New("watch namespace: watcher is closed")
	}
	if s, ok := w.spaces[id]; ok {
		s.uses++
		return nil
	}
	if _, isProcess := processOf(hint); hint != "" && !isProcess {
		if dir := filepath.Dir(hint); !slices.Contains(w.options.Dirs, dir) {
			w.options.Dirs = append(w.options.Dirs, dir)
		}
	}
	w.watchDirs()
	a, ok := findAnchors([]netns.ID{id}, w.options.Dirs)[id]
	if !ok {
		return fmt.Errorf("watch namespace %s: %w", Short(id), ErrGone)
	}
	s := &space{uses: 1}
	if err := w.fasten(id, s, a); err != nil {
		a.close()
		return fmt.Errorf("watch namespace %s: %w", Short(id), err)
	}
	w.spaces[id] = s
	return nil
}

// fasten makes a the anchor of the namespace. Called with the lock held.
func (w *Watcher) fasten(id netns.ID, s *space, a anchor) error {
	if err := replaceLink(w.link(id), a.path); err != nil {
		return err
	}
	if a.pidfd >= 0 {
		if err := w.poll(a.pidfd); err != nil {
			return fmt.Errorf("poll process: %w", err)
		}
	}
	s.anchor = a
	s.generation++
	return nil
}

// Unwatch ends one Watch.
func (w *Watcher) Unwatch(id netns.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, ok := w.spaces[id]
	if !ok {
		return
	}
	if s.uses--; s.uses == 0 {
		w.forget(id, s)
	}
}

func (w *Watcher) forget(id netns.ID, s *space) {
	delete(w.spaces, id)
	w.release(s.anchor)
	_ = os.Remove(w.link(id))
}

func (w *Watcher) release(a anchor) {
	if a.pidfd >= 0 {
		// Closing alone would not do while a process that was just forked
		// still has the descriptor.
		_ = unix.EpollCtl(w.epoll, unix.EPOLL_CTL_DEL, a.pidfd, nil)
	}
	a.close()
}

// Ref leads to a namespace.
type Ref struct {
	// Path is valid as long as the namespace is watched.
	Path string
	// Target is where Path leads now.
	Target string

	watcher    *Watcher
	id         netns.ID
	generation int
}

// Path returns how to reach a watched namespace.
func (w *Watcher) Path(id netns.ID) (Ref, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, ok := w.spaces[id]
	if !ok {
		return Ref{}, fmt.Errorf("reach namespace %s: %w", Short(id), ErrGone)
	}
	return Ref{Path: w.link(id), Target: s.path, watcher: w, id: id, generation: s.generation}, nil
}

// Valid reports whether Path has led to the namespace all the time since the
// Ref was made. Who gave Path to somebody else asks afterwards: the number of
// a process that has ended meanwhile may be another's.
func (r Ref) Valid() bool {
	r.watcher.mu.Lock()
	defer r.watcher.mu.Unlock()
	s, ok := r.watcher.spaces[r.id]
	return ok && s.generation == r.generation && s.valid(r.id)
}

// Close ends all watching without telling of any death.
func (w *Watcher) Close() {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return
	}
	w.closed = true
	w.mu.Unlock()
	_, _ = unix.Write(w.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	<-w.done
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, s := range w.spaces {
		w.forget(id, s)
	}
	w.closeFiles()
}

func (w *Watcher) closeFiles() {
	for _, fd := range []int{w.epoll, w.inotify, w.wake} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

func (w *Watcher) link(id netns.ID) string {
	return filepath.Join(w.options.LinkDir, Short(id))
}

// Short is a name for a namespace: unique on this machine until it boots.
func Short(id netns.ID) string { return fmt.Sprintf("%d-%x", id.Ino, id.Cookie) }
