// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/traffic"
)

// workload is an ordinary server process in a namespace of its own.
type workload struct {
	name, netns string
	cmd         *exec.Cmd
}

// startWorkload runs this binary again as a plain TCP and UDP server: the
// machine may have no other. It ends with its standard input, so that nothing
// remains when the demo is killed.
func startWorkload(name, path string, ports ...uint16) (*workload, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := []string{serverCommand, name}
	for _, p := range ports {
		args = append(args, strconv.Itoa(int(p)))
	}
	cmd := exec.Command(self, args...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the demo
	if _, err := cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := netns.Do(path, cmd.Start); err != nil {
		return nil, fmt.Errorf("start workload %s: %w", name, err)
	}
	w := &workload{name: name, netns: path, cmd: cmd}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != ready {
		return nil, errors.Join(fmt.Errorf("workload %s did not start: %q: %w", name, line, err), w.kill())
	}
	return w, nil
}

func (w *workload) pid() int { return w.cmd.Process.Pid }

// alive says whether the very process that was started still runs.
func (w *workload) alive() bool { return w.cmd.Process.Signal(syscall.Signal(0)) == nil }

// kill ends the process at once and reaps it.
func (w *workload) kill() error {
	err := w.cmd.Process.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	_ = w.cmd.Wait() // "signal: killed" is what was asked for; it closes the pipes, too
	return err
}

const (
	serverCommand = "demo-workload"
	ready         = "ready\n"
)

// NewWorkloadCommand returns the hidden command that a workload process runs.
func NewWorkloadCommand() *cobra.Command {
	return &cobra.Command{
		Use:    serverCommand + " NAME PORT...",
		Short:  "Serve TCP and UDP until the standard input ends (used by weft demo)",
		Hidden: true,
		Args:   cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var ports []uint16
			for _, arg := range args[1:] {
				port, err := strconv.ParseUint(arg, 10, 16)
				if err != nil {
					return fmt.Errorf("port %q: %w", arg, err)
				}
				ports = append(ports, uint16(port))
			}
			server, err := traffic.Serve(args[0], ports...)
			if err != nil {
				return err
			}
			defer server.Close()
			if _, err := io.WriteString(cmd.OutOrStdout(), ready); err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, cmd.InOrStdin())
			return err
		},
	}
}
