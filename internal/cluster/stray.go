// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/weft-project/weft/internal/netns"
)

// killIn kills every process that lives in a namespace of the cluster: nobody
// else can be there.
func killIn(inode uint64) error {
	var errs []error
	for path := range netns.Find(inode) {
		var pid int
		if _, err := fmt.Sscanf(path, "/proc/%d/ns/net", &pid); err != nil || pid == os.Getpid() {
			continue
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, fmt.Errorf("kill stray process %d: %w", pid, err))
		}
	}
	return errors.Join(errs...)
}
