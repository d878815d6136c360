// SPDX-License-Identifier: Apache-2.0

package up

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	bpffs = "/sys/fs/bpf"
	// noPins is the pin-dir of who wants the data path to end with the process.
	noPins = "none"
	// forwarderPins is where the forwarder has its own.
	forwarderPins = "forwarder"
)

// pins returns the directory to pin the data path in, "" for none. By default it
// is one of the run directory's own, in a BPF file system that is mounted when it
// is not.
func (c Config) pins() (string, error) {
	switch c.PinDir {
	case noPins:
		return "", nil
	case "":
	default:
		return c.PinDir, nil
	}
	var stat unix.Statfs_t
	if err := unix.Statfs(bpffs, &stat); err != nil {
		return "", fmt.Errorf("pin-dir: %s: %w", bpffs, err)
	}
	if stat.Type != unix.BPF_FS_MAGIC {
		if err := unix.Mount("bpf", bpffs, "bpf", 0, ""); err != nil {
			return "", fmt.Errorf("pin-dir: mount a BPF file system on %s: %w", bpffs, err)
		}
	}
	parent := filepath.Join(bpffs, "weft")
	if err := os.Mkdir(parent, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", fmt.Errorf("pin-dir: %w", err)
	}
	sum := sha256.Sum256([]byte(filepath.Clean(c.RunDir)))
	return filepath.Join(parent, hex.EncodeToString(sum[:6])), nil
}

// removePins removes the directories that nothing is pinned in any more.
func (c Config) removePins() error {
	if c.PinDir == "" {
		return nil
	}
	for _, dir := range []string{filepath.Join(c.PinDir, forwarderPins), c.PinDir} {
		err := os.Remove(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) {
			return fmt.Errorf("pin-dir: %w", err)
		}
	}
	return nil
}
