// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"io"
	"net"
)

// relay passes connections on to another socket, from inside this process: the
// agent takes the caller's namespace from the kernel, so that what is sent
// through the relay comes from the namespace of the process that runs it.
func relay(listener net.Listener, to string) {
	for {
		near, err := listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("unix", to)
		if err != nil {
			_ = near.Close() // no agent now: the caller tries again
			continue
		}
		for _, pair := range [][2]net.Conn{{near, far}, {far, near}} {
			go func() {
				_, _ = io.Copy(pair[0], pair[1])
				_ = pair[0].Close()
			}()
		}
	}
}
