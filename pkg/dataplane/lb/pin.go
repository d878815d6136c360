// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/pkg/dataplane/ingress"
)

// What a pin directory has besides the links, which are pinned by the names of
// their hooks. Names in a BPF file system have no dots.
const (
	recordName = "record"
	nextSuffix = "-next" // of what replaces the one without
)

// record says what a load balancer has left outside of its pin directory. It is
// the text of a symbolic link, the only text that a BPF file system keeps.
type record struct {
	ifindex      int    // external interface
	block        uint32 // of the legs
	allMulticast bool   // the interface receives all multicast because of us
	netNS        string // path
}

const recordFormat = "%d/%d/%t/%s"

func (r record) write(dir string) error {
	path := filepath.Join(dir, recordName)
	next := path + nextSuffix
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(fmt.Sprintf(recordFormat, r.ifindex, r.block, r.allMulticast, r.netNS), next); err != nil {
		return err
	}
	return os.Rename(next, path)
}

// readRecord returns the record of a directory; ok says that there is one.
func readRecord(dir string) (r record, ok bool, err error) {
	text, err := os.Readlink(filepath.Join(dir, recordName))
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, false, nil
	}
	if err != nil {
		return record{}, false, err
	}
	// A path that is empty is no value for Sscanf.
	if n, err := fmt.Sscanf(text, recordFormat, &r.ifindex, &r.block, &r.allMulticast, &r.netNS); n < 3 {
		return record{}, false, fmt.Errorf("record %q: %w", text, err)
	}
	return r, true, nil
}

// loadPins opens the links that are pinned in a directory, by name of their
// hook. Of two generations of one, the younger counts.
func loadPins(dir string) (map[string]link.Link, error) {
	found := map[string]link.Link{}
	for _, h := range hooks {
		path := filepath.Join(dir, h.name)
		if err := os.Rename(path+nextSuffix, path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, errors.Join(err, closeLinks(found))
		}
		lk, err := link.LoadPinnedLink(path, nil)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open pin %s: %w", path, err), closeLinks(found))
		}
		found[h.name] = lk
	}
	return found, nil
}

func closeLinks(links map[string]link.Link) error {
	var errs []error
	for _, lk := range links {
		errs = append(errs, lk.Close())
	}
	return errors.Join(errs...)
}

// pin makes a link outlive the process. It takes the place of an older one.
func pin(lk link.Link, dir, name string) error {
	path := filepath.Join(dir, name)
	// It may take itself for pinned still.
	if err := lk.Unpin(); err != nil {
		return fmt.Errorf("pin %s: %w", name, err)
	}
	if err := lk.Pin(path + nextSuffix); err != nil {
		return fmt.Errorf("pin %s: %w", name, err)
	}
	return os.Rename(path+nextSuffix, path)
}

// detach ends a pinned link, now: without it, that happens some time after its
// last pin and descriptor have gone.
func detach(dir, name string) error {
	for _, path := range []string{name, name + nextSuffix} {
		lk, err := link.LoadPinnedLink(filepath.Join(dir, path), nil)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		err = lk.Detach()
		if errors.Is(err, ebpf.ErrNotSupported) { // it ends by itself
			err = nil
		}
		if err := errors.Join(err, lk.Close()); err != nil {
			return err
		}
	}
	return unpin(dir, name)
}

// unpin removes pins.
func unpin(dir, name string) error {
	var errs []error
	for _, path := range []string{name, name + nextSuffix} {
		if err := os.Remove(filepath.Join(dir, path)); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// attachedHere says that a link is that of the interface in the namespace of the
// calling thread: indices mean nothing elsewhere.
func attachedHere(lk link.Link, ifindex int) (bool, error) {
	info, err := lk.Info()
	if err != nil {
		return false, err
	}
	there, err := link.QueryPrograms(link.QueryOptions{Target: ifindex, Attach: ebpf.AttachTCXIngress})
	if err != nil {
		return false, err
	}
	for _, p := range there.Programs {
		if id, ok := p.LinkID(); ok && id == info.ID {
			return true, nil
		}
	}
	return false, nil
}

// Discard removes what a load balancer has left pinned in a directory, and what
// belongs to it: its programs come off the external interface and the legs. A
// directory that is not there is no error.
func Discard(dir string) error {
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var errs []error
	for _, h := range hooks {
		errs = append(errs, detach(dir, h.name))
		afterStep("discard " + h.name)
	}
	r, ok, err := readRecord(dir)
	if errs = append(errs, err); ok {
		errs = append(errs, r.discard())
		afterStep("discard legs")
	}
	errs = append(errs, unpin(dir, recordName))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("discard %s: %w", dir, err)
	}
	// Fails, rightly, while it holds what is not ours.
	_ = os.Remove(dir)
	return nil
}

// discard undoes what the record says, as far as it is there.
func (r record) discard() error {
	err := ingress.Dissolve(r.netNS, r.block)
	if errors.Is(err, netns.ErrNotFound) {
		return nil
	}
	if err != nil || !r.allMulticast {
		return err
	}
	h, err := nl.Open(r.netNS)
	if err != nil {
		return err
	}
	err = h.SetAllMulticast(r.ifindex, false)
	if errors.Is(err, nl.ErrNotFound) {
		err = nil
	}
	return errors.Join(err, h.Close())
}
