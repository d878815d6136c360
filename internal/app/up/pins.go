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

	"github.com/weft-project/weft/internal/bpffs"
)

// noPins is the pin-dir of who wants the data path to end with the process.
const noPins = "none"

// pins returns the directory to pin the data path in, "" for none. By default it
// is one of the run directory's own, in the host's BPF file system.
func (c Config) pins() string {
	switch c.PinDir {
	case noPins:
		return ""
	case "":
	default:
		return c.PinDir
	}
	sum := sha256.Sum256([]byte(filepath.Clean(c.RunDir)))
	return filepath.Join(bpffs.Default, "weft", hex.EncodeToString(sum[:6]))
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
