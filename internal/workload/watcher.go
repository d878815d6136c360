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
	// to it: a path that stays the same while processes come and go, and after
	// a restart. The link to a dead namespace leads to /dev/null, because who
	// was given the path looks at it once more when it cleans up. Made if
	// missing.
	LinkDir string
	// Dirs hold names of namespaces. Default /run/netns.
	Dirs []string
	// Gone is called once for each watched namespace that has died, from the
	// watcher's goroutine.
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
	gone bool
	// generation grows with every change of the anchor.
	generation int
}

// NewWatcher starts a watcher.
func NewWatcher(options Options) (*Watcher, error) {
	if options.Dirs == nil {
		options.Dirs = []string{netns.Dir}
	}
	if err := os.MkdirAll(options.LinkDir, 0o755); err != nil {
		return nil, fmt.Errorf("make directory of namespace links: %w", err)
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
// needs an Unwatch, also one that answers ErrGone: its link stands till then.
func (w *Watcher) Watch(id netns.ID, hint string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return errors.New("watch namespace: watcher is closed")
	}
	if s, ok := w.spaces[id]; ok {
		s.uses++
		return s.err(id)
	}
	if _, isProcess := processOf(hint); hint != "" && !isProcess {
		if dir := filepath.Dir(hint); !slices.Contains(w.options.Dirs, dir) {
			w.options.Dirs = append(w.options.Dirs, dir)
		}
	}
	w.watchDirs()
	s := &space{uses: 1, anchor: anchor{pidfd: -1}}
	a, ok := findAnchors([]netns.ID{id}, w.options.Dirs)[id]
	if !ok {
		w.bury(id, s)
	} else if err := w.fasten(id, s, a); err != nil {
		a.close()
		return fmt.Errorf("watch namespace %s: %w", Short(id), err)
	}
	w.spaces[id] = s
	return s.err(id)
}

func (s *space) err(id netns.ID) error {
	if s.gone {
		return fmt.Errorf("watch namespace %s: %w", Short(id), ErrGone)
	}
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

// bury records the death of a namespace. Called with the lock held.
func (w *Watcher) bury(id netns.ID, s *space) {
	w.release(s.anchor)
	s.anchor, s.gone = anchor{pidfd: -1}, true
	s.generation++
	_ = replaceLink(w.link(id), os.DevNull)
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
		delete(w.spaces, id)
		w.release(s.anchor)
		_ = os.Remove(w.link(id))
	}
}

// Prune removes the links of namespaces that are not watched: those that an
// earlier run left and nobody needs any more.
func (w *Watcher) Prune() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	keep := make(map[string]bool)
	for id := range w.spaces {
		keep[Short(id)] = true
	}
	entries, err := os.ReadDir(w.options.LinkDir)
	if err != nil {
		return fmt.Errorf("prune namespace links: %w", err)
	}
	for _, entry := range entries {
		if entry.Type()&os.ModeSymlink == 0 || keep[entry.Name()] {
			continue
		}
		if err := os.Remove(filepath.Join(w.options.LinkDir, entry.Name())); err != nil {
			return fmt.Errorf("prune namespace links: %w", err)
		}
	}
	return nil
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
	// Path stays the same as long as the namespace is watched.
	Path string
	// Target is where Path leads now; empty when the namespace is gone.
	Target string

	watcher    *Watcher
	id         netns.ID
	generation int
}

// Path returns how to reach a watched namespace.
func (w *Watcher) Path(id netns.ID) Ref {
	w.mu.Lock()
	defer w.mu.Unlock()
	ref := Ref{Path: w.link(id), watcher: w, id: id}
	if s, ok := w.spaces[id]; ok {
		ref.Target, ref.generation = s.path, s.generation
	}
	return ref
}

// Valid reports whether Path has led to the namespace all the time since the
// Ref was made. Who gave Path to somebody else asks afterwards: the number of
// a process that has ended meanwhile may be another's.
func (r Ref) Valid() bool {
	r.watcher.mu.Lock()
	defer r.watcher.mu.Unlock()
	s, ok := r.watcher.spaces[r.id]
	return ok && !s.gone && s.generation == r.generation && s.valid(r.id)
}

// Close ends all watching without telling of any death. The links stay, for
// those who were given them outlive the watcher.
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
	for _, s := range w.spaces {
		w.release(s.anchor)
	}
	clear(w.spaces)
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
