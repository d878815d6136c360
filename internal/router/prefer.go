// SPDX-License-Identifier: Apache-2.0

package router

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Prefer runs the router before other programs of this machine, as far as that is
// allowed: a router outside has one of its own.
func (b *BIRD) Prefer() {
	threads, err := os.ReadDir("/proc/" + strconv.Itoa(b.Pid()) + "/task")
	if err != nil {
		return
	}
	for _, t := range threads {
		id, err := strconv.Atoi(t.Name())
		if err != nil || unix.SchedSetAttr(id, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 1}, 0) != nil {
			return
		}
	}
}
