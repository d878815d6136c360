// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/weft-project/weft/internal/netns"
)

// cli runs a weft command in a child process inside the workload's namespace:
// the agent takes the caller's namespace from the kernel.
func (w *workload) cli(args ...string) error { return cli(w.NetNS, w.socket, args...) }

func cli(path, socket string, args ...string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), "WEFT_SOCKET="+socket)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := netns.Do(path, cmd.Start); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("weft %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(out.String()))
	}
	return nil
}

// stopAll ends whatever runs, in the reverse order, also after a failure.
func (d *demo) stopAll() error {
	d.stopTraffic()
	errs := []error{d.stop()}
	for _, w := range slices.Backward(d.workloads) {
		errs = append(errs, w.Kill())
	}
	if d.topo != nil {
		errs = append(errs, d.topo.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(dir))...)
}
