// SPDX-License-Identifier: Apache-2.0

package bfdnet

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Real-time priorities. The lowest is above all ordinary threads; the thread that
// sends and receives is above the others of its process.
const (
	processPriority = 1
	threadPriority  = 2
)

// window is how long the process may compute before it is an ordinary one again.
var window = 5 * time.Second

const (
	// sparePs are processors of the Go runtime beyond the machine's: one that is
	// free for the thread when others hold theirs.
	sparePs = 2
	// share is how much of one processor is computing.
	share = 0.5
	// slice makes the scheduler prefer ordinary threads when they wake (Linux
	// 6.12; before, it is ignored).
	slice = 100 * time.Microsecond
)

// The names of what a thread may get.
const (
	realTime = "SCHED_RR"
	nice     = "nice -20"
	ordinary = "default"
	gone     = "gone"
)

var prioritised sync.Once

// Prioritise gives all threads of the process, and those to come, a real-time
// priority, and reports what they got: "SCHED_RR", "nice -20" or "default". Call it
// first in a process that is there for BFD. A priority of the one thread that
// sends and receives is not enough: after each wait it needs one of the Go
// runtime's processors, which a thread without priority may hold while the kernel
// does not let it run, and so may one that collects garbage with the world stopped.
//
// A process that computes for seconds loses the priority, but for the thread of
// BFD, until it is quiet: the machine must not starve.
func Prioritise() (string, error) {
	if n := runtime.NumCPU() + sparePs; runtime.GOMAXPROCS(0) < n {
		runtime.GOMAXPROCS(n)
	}
	got, err := preferAll(true)
	if err == nil && got == realTime {
		prioritised.Do(func() { go yieldWhenBusy() })
	}
	return got, err
}

// preferAll sets the priority of all threads but those of sending and receiving,
// and returns the worst that one got. New ones inherit; a thread that starts while
// the list is read is found the next time.
func preferAll(high bool) (string, error) {
	priority := 0
	if high {
		priority = processPriority
	}
	set := map[int]string{}
	for {
		entries, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return "", fmt.Errorf("prefer threads: %w", err)
		}
		before := len(set)
		for _, e := range entries {
			if tid, err := strconv.Atoi(e.Name()); err == nil && set[tid] == "" && !isPoller(tid) {
				set[tid] = prefer(tid, priority)
			}
		}
		if len(set) == before {
			return worst(set), nil
		}
	}
}

func worst(set map[int]string) string {
	got := realTime
	for _, s := range set {
		if s == ordinary || s == nice && got == realTime {
			got = s
		}
	}
	return got
}

// isPoller tells by its priority a thread of sending and receiving.
func isPoller(tid int) bool {
	attr, err := unix.SchedGetAttr(tid, 0)
	return err == nil && attr.Policy == unix.SCHED_RR && attr.Priority == threadPriority
}

// prefer gives a thread (0: this one) a real-time priority (0: none), or the next
// best that it may have.
func prefer(tid, priority int) string {
	attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: uint32(priority)}
	if priority == threadPriority {
		attr.Flags = unix.SCHED_FLAG_RESET_ON_FORK
	}
	if priority > 0 && unix.SchedSetAttr(tid, &attr, 0) == nil {
		return realTime
	}
	attr = unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL, Nice: -20, Runtime: uint64(slice)}
	switch err := unix.SchedSetAttr(tid, &attr, 0); {
	case err == nil:
		return nice
	case errors.Is(err, unix.ESRCH):
		return gone
	}
	return ordinary
}

// yieldWhenBusy takes the process's priority away while it computes.
func yieldWhenBusy() {
	high, before := true, processTime()
	for range time.Tick(window) {
		used := processTime()
		if quiet := used-before < time.Duration(share*float64(window)); quiet != high {
			_, _ = preferAll(quiet) // succeeded before
			high = quiet
		}
		before = used
	}
}

func processTime() time.Duration {
	var usage unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &usage) // cannot fail
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
