// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// processUsage is what a process costs while nothing happens.
type processUsage struct {
	Name string `json:"name"`
	// MilliCPU is the processor time that it took, in thousandths of a core.
	MilliCPU float64 `json:"milli-cpu"`
	// RSS is the memory that it has, Anonymous the part of it that is not pages of
	// its binary; bytes.
	RSS         int64 `json:"rss-bytes"`
	Anonymous   int64 `json:"anonymous-bytes"`
	Descriptors int   `json:"descriptors"`
	Threads     int   `json:"threads"`
}

// idle waits, lets all processes be for a while, and takes what each costs.
func (b *bed) idle(ctx context.Context, settle, duration time.Duration) ([]processUsage, error) {
	if err := pause(ctx, settle); err != nil {
		return nil, err
	}
	var usages []processUsage
	var before []time.Duration
	var pids []int
	for _, p := range b.Processes() {
		spent, err := cpuTime(p.PID())
		if err != nil {
			return nil, fmt.Errorf("measure %s: %w", p.Name, err)
		}
		usages, before, pids = append(usages, processUsage{Name: p.Name}), append(before, spent), append(pids, p.PID())
	}
	began := time.Now()
	if err := pause(ctx, duration); err != nil {
		return nil, err
	}
	for i := range usages {
		spent, err := cpuTime(pids[i])
		if err == nil {
			usages[i].MilliCPU = 1000 * float64(spent-before[i]) / float64(time.Since(began))
			err = usages[i].readMemory(pids[i])
		}
		if err != nil {
			return nil, fmt.Errorf("measure %s: %w", usages[i].Name, err)
		}
	}
	slices.SortFunc(usages, func(a, b processUsage) int { return strings.Compare(a.Name, b.Name) })
	return usages, nil
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tick is the unit of times in /proc/<pid>/stat on every architecture that Go
// knows (USER_HZ).
const tick = 10 * time.Millisecond

// cpuTime returns what a process has spent so far, in user space and kernel.
func cpuTime(pid int) (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name, the second field, may have spaces. Behind it come fields 3 and up.
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	var sum time.Duration
	for _, field := range fields[14-3 : 16-3] {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(ticks) * tick
	}
	return sum, nil
}

func (u *processUsage) readMemory(pid int) error {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(line, ":")
		number, _, _ := strings.Cut(strings.TrimSpace(value), " ")
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			continue // not a number, and none of these
		}
		switch key {
		case "VmRSS":
			u.RSS = n << 10
		case "RssAnon":
			u.Anonymous = n << 10
		case "Threads":
			u.Threads = int(n)
		}
	}
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	u.Descriptors = len(entries)
	return err
}
