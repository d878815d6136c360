// SPDX-License-Identifier: Apache-2.0

package up

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"github.com/weft-project/weft/internal/app/forwarder"
	"github.com/weft-project/weft/pkg/dataplane/lb"
	"github.com/weft-project/weft/pkg/networkservice/tunnelmech"
)

// The directories below RunDir and PinDir.
const (
	agentDir      = "agent"
	wireGuardDir  = "wireguard"
	forwarderPins = "forwarder"
)

// remains are what a weft up leaves on the host, for the next one or because it
// was killed.
type remains struct {
	Config
	// keepAttachments leaves the wanted attachments, for the next one.
	keepAttachments bool
}

func (r remains) dataPath() forwarder.Remains {
	return forwarder.Remains{Config: r.forwarder(tunnelmech.Policy{})}
}

// sockets returns those that there are, whoever made them.
func (r remains) sockets() []string {
	var found []string
	paths, _ := filepath.Glob(filepath.Join(r.RunDir, replicaPrefix+"*.sock")) // the pattern is good
	offered, _ := filepath.Glob(filepath.Join(r.RunDir, vlanPrefix+"*.sock"))
	paths = append(paths, offered...)
	for _, name := range []string{"admin", "agent", "forwarder", "nsmgr", "registry"} {
		paths = append(paths, filepath.Join(r.RunDir, name+".sock"))
	}
	for _, path := range paths {
		if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
			found = append(found, path)
		}
	}
	return found
}

// idle is an error while a process uses what is there.
func (r remains) idle() error { return r.dataPath().Idle(r.sockets()...) }

// list describes what there is.
func (r remains) list() ([]string, error) {
	found, err := r.dataPath().List()
	errs := []error{err}
	pinned, err := r.pinnedReplicas()
	errs = append(errs, err)
	for _, dir := range pinned {
		pins, err := forwarder.Files("pin", dir)
		found, errs = append(found, pins...), append(errs, err)
	}
	if !r.keepAttachments {
		stored, err := forwarder.Files("attachment", filepath.Join(r.RunDir, agentDir, "attachments"))
		found, errs = append(found, stored...), append(errs, err)
	}
	for _, path := range r.frontendSockets() {
		found = append(found, "frontend "+path)
	}
	for _, path := range r.sockets() {
		found = append(found, "socket "+path)
	}
	return found, errors.Join(errs...)
}

// remove removes all of it. Load balancers go first: they are behind the legs.
func (r remains) remove(ctx context.Context) error {
	pinned, err := r.pinnedReplicas()
	errs := []error{err}
	for _, path := range r.frontendSockets() { // before what they announce ends
		errs = append(errs, endFrontend(path))
	}
	for _, dir := range pinned {
		errs = append(errs, lb.Discard(dir))
	}
	errs = append(errs, r.dataPath().Remove(ctx))
	for _, path := range r.sockets() {
		errs = append(errs, removeSocket(path))
	}
	agent := filepath.Join(r.RunDir, agentDir)
	if !r.keepAttachments {
		errs = append(errs, os.RemoveAll(agent))
	}
	// Those that are empty now.
	for _, dir := range []string{filepath.Join(r.RunDir, wireGuardDir), r.RunDir, r.PinDir} {
		if dir != "" && dir != noPins {
			_ = os.Remove(dir)
		}
	}
	return errors.Join(errs...)
}

// removeSocket removes a socket that nobody serves.
func removeSocket(path string) error {
	if conn, err := net.Dial("unix", path); err == nil {
		return conn.Close()
	}
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
