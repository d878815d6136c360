// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/netns"
)

// run waits for a process to end or a name to go, looks for other anchors of
// the namespaces concerned, and tells of those that have none.
func (w *Watcher) run() {
	defer close(w.done)
	events := make([]unix.EpollEvent, 64)
	for {
		n, err := unix.EpollWait(w.epoll, events, checkMillis)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		var ended []int32
		for _, event := range events[:max(n, 0)] {
			switch int(event.Fd) {
			case w.wake:
				return
			case w.inotify:
				w.drain()
			default:
				ended = append(ended, event.Fd)
			}
		}
		for _, id := range w.refasten(ended, n <= 0) {
			if w.options.Gone != nil {
				w.options.Gone(id)
			}
		}
	}
}

// drain reads the events; which they are does not matter, all names are
// checked.
func (w *Watcher) drain() {
	buffer := make([]byte, 4096)
	for {
		if n, err := unix.Read(w.inotify, buffer); n <= 0 || err != nil {
			return
		}
	}
}

// refasten finds new anchors for the namespaces whose process has ended or
// whose name is gone, or with all that have lost theirs in any way, and
// returns those without any.
func (w *Watcher) refasten(ended []int32, all bool) (gone []netns.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.watchDirs()
	var loose []netns.ID
	for id, s := range w.spaces {
		if s.gone {
			continue
		}
		if slices.Contains(ended, int32(s.pidfd)) || (all || s.pidfd < 0) && !s.valid(id) {
			loose = append(loose, id)
		}
	}
	if len(loose) == 0 {
		return nil
	}
	found := findAnchors(loose, w.options.Dirs)
	for _, id := range loose {
		s := w.spaces[id]
		a, ok := found[id]
		if ok {
			old := s.anchor
			if err := w.fasten(id, s, a); err == nil {
				w.release(old)
				continue
			}
			a.close()
		}
		w.bury(id, s)
		gone = append(gone, id)
	}
	return gone
}

// replaceLink makes link lead to target at once, never to nothing.
func replaceLink(link, target string) error {
	temporary := link + ".new"
	_ = os.Remove(temporary)
	if err := os.Symlink(target, temporary); err != nil {
		return fmt.Errorf("link namespace: %w", err)
	}
	if err := os.Rename(temporary, link); err != nil {
		return fmt.Errorf("link namespace: %w", errors.Join(err, os.Remove(temporary)))
	}
	return nil
}
