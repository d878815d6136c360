// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/weft-project/weft/internal/netns"
)

// cli runs a weft command in a child process inside a namespace: the agent
// takes the caller's namespace from the kernel.
func (d *demo) cli(path, socket string, args ...string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), "WEFT_SOCKET="+socket)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := netns.Do(path, cmd.Start); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("weft %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return nil
}

// stopAll ends whatever runs, in the reverse order, also after a failure.
func (d *demo) stopAll() error {
	d.stopTraffic()
	var errs []error
	for _, r := range d.replicas {
		errs = append(errs, r.Stop())
	}
	if d.stack != nil {
		errs = append(errs, d.stack.Stop())
		errs = append(errs, d.emptyNode())
	}
	for _, w := range d.workloads {
		errs = append(errs, w.Kill())
	}
	errs = append(errs, d.topo.Close())
	if d.dir != "" {
		errs = append(errs, os.RemoveAll(d.dir))
	}
	return errors.Join(errs...)
}

// emptyNode checks that no end of an interface remains on the node.
func (d *demo) emptyNode() error {
	links, err := interfaces(d.node)
	if err == nil && len(links) > 0 {
		err = fmt.Errorf("the forwarder left interfaces on the node: %s", strings.Join(links, ", "))
	}
	return err
}
