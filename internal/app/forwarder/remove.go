// SPDX-License-Identifier: Apache-2.0

package forwarder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/weft-project/weft/internal/bpffs"
	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/stitch"
	"github.com/weft-project/weft/internal/trunk"
	"github.com/weft-project/weft/internal/wireguard"
	"github.com/weft-project/weft/pkg/dataplane/xconnect"
)

// aliasPrefix begins the aliases of all our interfaces.
const aliasPrefix = "weft:"

// Remains are what a forwarder leaves on the host for the next one, or because it
// was killed.
type Remains struct{ Config }

func (r Remains) config() Config { return r.withDefaults() }

// List describes what there is, one thing each.
func (r Remains) List() ([]string, error) {
	c := r.config()
	links, err := ourLinks(c.NetNS)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, link := range links {
		found = append(found, fmt.Sprintf("interface %s (%s)", link.Name, link.Alias))
	}
	if c.PinDir != "" {
		pins, err := Files("pin", c.PinDir)
		if err != nil {
			return nil, err
		}
		found = append(found, pins...)
	}
	encrypted, err := wireguard.Remains(c.WireGuardDir)
	return append(found, encrypted...), err
}

// ourLinks returns the interfaces of ours in a namespace; one that is gone has
// none.
func ourLinks(netNS string) (ours []nl.Link, err error) {
	err = nl.Do(netNS, func(h *nl.Handle) error {
		all, err := h.Links()
		for _, link := range all {
			if strings.HasPrefix(link.Alias, aliasPrefix) && (link.Kind == "veth" || link.Kind == "vxlan") {
				ours = append(ours, link)
			}
		}
		return err
	})
	if errors.Is(err, netns.ErrNotFound) {
		err = nil
	}
	return ours, err
}

// Files describes what is below a directory, which may be missing.
func Files(what, dir string) (found []string, err error) {
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			found = append(found, what+" "+path)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return found, err
}

// Idle is an error while a process uses what is there: one that answers on a
// unix socket, or one that has pinned elsewhere.
func (r Remains) Idle(sockets ...string) error {
	for _, path := range sockets {
		if conn, err := net.Dial("unix", path); err == nil {
			return errors.Join(fmt.Errorf("it runs: somebody answers on %s; stop it first", path), conn.Close())
		}
	}
	c := r.config()
	if c.PinDir == "" {
		return nil
	}
	links, err := ourLinks(c.NetNS)
	if err != nil || len(links) == 0 {
		return err
	}
	indices := map[int]string{}
	for _, link := range links {
		indices[link.Index] = link.Name
	}
	others, err := xconnect.Foreign(c.NetNS, c.PinDir)
	if err != nil {
		return err
	}
	var foreign []string
	for _, index := range others {
		if name, ok := indices[index]; ok {
			foreign = append(foreign, name)
		}
	}
	if len(foreign) > 0 {
		slices.Sort(foreign)
		return fmt.Errorf("%s belong to a data path that is pinned elsewhere than in %s, or nowhere: name its pin directory, or none", strings.Join(foreign, ", "), c.PinDir)
	}
	return nil
}

// Remove removes all of it: legs with what they have inside of workloads'
// namespaces, tunnel devices, pins, and who encrypts.
func (r Remains) Remove(ctx context.Context) error {
	c := r.config()
	return errors.Join(removeVLANs(c), removeLegs(ctx, c), removeLinks(c.NetNS), wireguard.Remove(c.WireGuardDir))
}

// removeLegs adopts the legs, to know all that belongs to them.
func removeLegs(ctx context.Context, c Config) error {
	if c.PinDir != "" {
		if _, err := netns.Inode(orOwn(c.NetNS)); errors.Is(err, netns.ErrNotFound) {
			return xconnect.Discard(c.PinDir)
		}
	}
	// What it says of adoption is of no use here.
	s, err := stitch.New(stitch.Options{NetNS: c.NetNS, PinDir: c.PinDir, Logger: slog.New(slog.DiscardHandler)})
	if errors.Is(err, bpffs.ErrNotMounted) { // the pins have gone with the file system
		s, err = stitch.New(stitch.Options{NetNS: c.NetNS, Logger: slog.New(slog.DiscardHandler)})
	}
	if errors.Is(err, netns.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(s.Collect(ctx), s.Close(false))
}

// removeVLANs adopts frontends' interfaces, to know what belongs to them, and
// removes them.
func removeVLANs(c Config) error {
	dir := c.vlanPinDir()
	if dir == "" {
		return nil
	}
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if _, err := netns.Inode(orOwn(c.NetNS)); errors.Is(err, netns.ErrNotFound) {
		return os.RemoveAll(dir)
	}
	t, err := trunk.New(trunk.Options{NetNS: c.NetNS, PinDir: dir, Logger: slog.New(slog.DiscardHandler)})
	if errors.Is(err, bpffs.ErrNotMounted) { // the pins have gone with the file system
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(t.Collect(), t.Close(false))
}

func orOwn(netNS string) string {
	if netNS == "" {
		return "/proc/self/ns/net"
	}
	return netNS
}

// removeLinks removes tunnel devices, and veths that nobody has adopted.
func removeLinks(netNS string) error {
	links, err := ourLinks(netNS)
	if err != nil || len(links) == 0 {
		return err
	}
	return nl.Do(netNS, func(h *nl.Handle) error {
		var errs []error
		for _, link := range links {
			if err := h.DeleteLink(link.Index); !errors.Is(err, nl.ErrNotFound) {
				errs = append(errs, err)
			}
		}
		return errors.Join(errs...)
	})
}

// Removal is a removal that says what it does.
type Removal struct {
	List   func() ([]string, error)
	Remove func() error
	DryRun bool
	Out    io.Writer
}

// Run removes, and says what is gone; what remains is an error.
func (r Removal) Run() error {
	before, err := r.List()
	if err != nil {
		return err
	}
	if len(before) == 0 {
		_, err := fmt.Fprintln(r.Out, "nothing to remove")
		return err
	}
	if r.DryRun {
		for _, what := range before {
			fmt.Fprintln(r.Out, "would remove", what)
		}
		return nil
	}
	err = r.Remove()
	after, lookup := r.List()
	if lookup != nil {
		return errors.Join(err, lookup)
	}
	gone := slices.DeleteFunc(slices.Clone(before), func(what string) bool { return slices.Contains(after, what) })
	for _, what := range gone {
		fmt.Fprintln(r.Out, "removed", what)
	}
	if len(after) > 0 {
		err = errors.Join(err, fmt.Errorf("still there: %s", strings.Join(after, "; ")))
	}
	return err
}
