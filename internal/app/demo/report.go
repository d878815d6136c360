// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"
)

// report prints what happens and keeps what went wrong.
type report struct {
	out    io.Writer
	total  int           // number of steps
	now    int           // the step
	pause  *bufio.Reader // nil: do not wait between the steps
	failed []string
}

func (r *report) step(title string) {
	r.now++
	if r.now > 1 && r.pause != nil {
		fmt.Fprint(r.out, "\n-- press Enter --")
		_, _ = r.pause.ReadString('\n')
	}
	fmt.Fprintf(r.out, "\n[%d/%d] %s\n", r.now, r.total, title)
}

func (r *report) say(format string, args ...any) {
	fmt.Fprintf(r.out, "      "+format+"\n", args...)
}

// took says what was done and how long it took.
func (r *report) took(start time.Time, format string, args ...any) {
	r.say("%s  (%s)", fmt.Sprintf(format, args...), millis(time.Since(start)))
}

// check prints a measured fact and notes it as a failure when it is not as it
// has to be.
func (r *report) check(ok bool, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	mark := "ok  "
	if !ok {
		mark = "FAIL"
		r.failed = append(r.failed, text)
	}
	fmt.Fprintf(r.out, "      %s  %s\n", mark, text)
}

func (r *report) err() error {
	if len(r.failed) == 0 {
		return nil
	}
	return fmt.Errorf("demo: %d checks failed:\n  %s", len(r.failed), strings.Join(r.failed, "\n  "))
}

func millis(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}
