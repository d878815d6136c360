// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/selfexec"
)

// namePrefix begins the names of private namespaces and of their interfaces.
const namePrefix = "weft-wg-"

// maxSocketPath is what sun_path holds besides its NUL.
const maxSocketPath = 107

func socketName(generation int) string { return interfaceName(generation) + ".sock" }

// privateName is the name of the private namespace of a Manager's directory.
func privateName(dir string) string {
	sum := sha256.Sum256([]byte(dir))
	return namePrefix + hex.EncodeToString(sum[:6])
}

// PrivateNetNS returns the path of the private namespace of a Manager with the
// directory.
func PrivateNetNS(dir string) string { return netns.Path(privateName(dir)) }

// innerAddress is the address that goes with a public key: a unique local one
// (RFC 4193), the rest of which is a hash of the key.
func innerAddress(public wgtypes.Key) netip.Addr {
	sum := sha256.Sum256(append([]byte("weft inner address\x00"), public[:]...))
	var addr [16]byte
	copy(addr[:], sum[:])
	addr[0] = 0xfd
	return netip.AddrFrom16(addr)
}

// openPrivate returns the private namespace and whether it is new.
func openPrivate(dir string) (path string, made bool, err error) {
	name := privateName(dir)
	path = netns.Path(name)
	if _, err = netns.Inode(path); err == nil {
		return path, false, nil
	}
	if !errors.Is(err, netns.ErrNotFound) {
		return "", false, err
	}
	// A name without a namespace is what a crash has left.
	if err := netns.Delete(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", false, err
	}
	if path, err = netns.Create(name); err != nil {
		return "", false, err
	}
	err = withHandle(path, func(h *nl.Handle) error {
		lo, err := h.LinkByName("lo")
		if err != nil {
			return err
		}
		return h.SetUp(lo.Index)
	})
	if err != nil {
		return "", false, errors.Join(err, netns.Delete(name))
	}
	return path, true, nil
}

func withHandle(path string, fn func(*nl.Handle) error) error {
	h, err := nl.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(fn(h), h.Close())
}

// lockDir makes sure that one Manager at a time uses the directory.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("directory Dir: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("directory Dir: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = file.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("directory Dir: %s is used by another process", dir)
		}
		return nil, fmt.Errorf("directory Dir: lock %s: %w", dir, err)
	}
	return file, nil
}

// Remains describes what a Manager with the directory has left behind, one thing
// each.
func Remains(dir string) ([]string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	sockets, err := filepath.Glob(filepath.Join(escape(dir), namePrefix+"*.sock"))
	if err != nil {
		return nil, err
	}
	var found []string
	for _, socket := range sockets {
		found = append(found, "WireGuard process at "+socket)
	}
	path := netns.Path(privateName(dir))
	if _, err := os.Lstat(path); err == nil {
		found = append(found, "namespace "+path)
	}
	return found, nil
}

// Remove ends what a Manager with the directory has left behind: processes,
// interfaces, the private namespace. Nothing there is no error.
func Remove(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return removePrivate(dir)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	return errors.Join(removeProcesses(dir), removePrivate(dir), os.Remove(lock.Name()))
}

func removeProcesses(dir string) error {
	sockets, err := filepath.Glob(filepath.Join(escape(dir), namePrefix+"*.sock"))
	if err != nil {
		return err
	}
	var problems []error
	for _, socket := range sockets {
		if p, err := selfexec.Attach(socket); err == nil {
			problems = append(problems, p.End())
		}
		if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

// escape keeps characters of a directory from being taken for a pattern.
func escape(dir string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

// removePrivate removes the interfaces before the namespace, because the kernel
// would only do so some time later.
func removePrivate(dir string) error {
	name := privateName(dir)
	path := netns.Path(name)
	if _, err := netns.Inode(path); err == nil {
		err := withHandle(path, func(h *nl.Handle) error {
			links, err := h.Links()
			if err != nil {
				return err
			}
			var ours []int
			for _, link := range links {
				if strings.HasPrefix(link.Name, namePrefix) {
					ours = append(ours, link.Index)
				}
			}
			return h.DeleteLinks(ours...)
		})
		if err != nil {
			return err
		}
	}
	if err := netns.Delete(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
