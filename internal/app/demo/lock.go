// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/cluster"
)

const lockFile = "/run/weft-demo.lock"

// lock makes this the only demo of the machine; its namespaces have fixed
// names, so that a user can look into them. What a demo left that was killed
// is removed.
func lock() (unlock func() error, err error) {
	file, err := os.OpenFile(lockFile, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = errors.New("another demo runs on this machine")
		}
		return nil, errors.Join(err, file.Close())
	}
	if err := cluster.Sweep(prefix, dir); err != nil {
		return nil, errors.Join(fmt.Errorf("remove what a killed demo left: %w", err), file.Close())
	}
	return func() error { return errors.Join(os.Remove(lockFile), file.Close()) }, nil
}
