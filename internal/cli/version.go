// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"runtime"
	"runtime/debug"

	daemonv1 "github.com/weft-project/weft/pkg/api/daemon/v1"
)

// Version says which build this is, as the Go toolchain recorded it.
func Version() *daemonv1.VersionResponse {
	v := &daemonv1.VersionResponse{Version: "(devel)", GoVersion: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	modified := ""
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = s.Value
		case "vcs.modified":
			if s.Value == "true" {
				modified = "-modified"
			}
		}
	}
	if v.Commit != "" {
		v.Commit += modified
	}
	return v
}
