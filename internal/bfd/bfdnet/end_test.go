// SPDX-License-Identifier: Apache-2.0

package bfdnet

import (
	"crypto/sha1"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/bfd"
	"github.com/weft-project/weft/internal/netns"
)

// endEnv makes the test program one end of sessions; its value are they.
const endEnv = "WEFT_TEST_BFD_END"

func TestMain(m *testing.M) {
	if text, ok := os.LookupEnv(endEnv); ok {
		if err := serveEnd(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// endReport is what an end says when it is asked.
type endReport struct {
	Sessions   []Status
	Delays     Delays
	Process    string // priority of its threads
	Thread     string // and of that of BFD
	Processors time.Duration
}

func (r endReport) up() bool {
	for _, s := range r.Sessions {
		if s.State != bfd.Up {
			return false
		}
	}
	return len(r.Sessions) > 0
}

func (r endReport) flaps() (n uint64) {
	for _, s := range r.Sessions {
		n += s.Flaps
	}
	return n
}

// serveEnd is a process like a frontend's: it has little to do all the time, by
// which garbage is collected about once a second.
func serveEnd(text string) error {
	window = 500 * time.Millisecond
	got, err := Prioritise()
	if err != nil {
		return err
	}
	var sessions []Session
	if err := json.Unmarshal([]byte(text), &sessions); err != nil {
		return err
	}
	go litter()
	s, err := New(Options{})
	if err != nil {
		return err
	}
	if err := s.Set(sessions); err != nil {
		return errors.Join(err, s.Close())
	}
	questions, answers := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var question int
		if err := questions.Decode(&question); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return errors.Join(err, s.Close())
		}
		compute(question == tellAndCompute)
		if err := answers.Encode(endReport{s.Status(), s.Delays(), got, s.Scheduling(), processTime()}); err != nil {
			return errors.Join(err, s.Close())
		}
	}
}

// What an end may be asked.
const (
	tell = iota
	tellAndCompute
)

var computes atomic.Bool

// compute takes a processor as long as it is wanted.
func compute(on bool) {
	if computes.Swap(on) || !on {
		return
	}
	go func() {
		for computes.Load() {
			_ = sha1.Sum(nil)
		}
	}()
}

func litter() {
	var heap [][]byte
	for range time.Tick(10 * time.Millisecond) {
		heap = append(heap, make([]byte, 40_000))
		if len(heap) > 200 {
			heap = nil
		}
	}
}

// end is a process with one end of sessions.
type end struct {
	t         testing.TB
	questions *json.Encoder
	answers   *json.Decoder
	pid       int
}

func startEnd(t testing.TB, ns string, sessions []Session) *end {
	t.Helper()
	text, err := json.Marshal(sessions)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), endEnv+"="+string(text))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := netns.Do(ns, cmd.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the process of an end: %v", err)
		}
	})
	return &end{t, json.NewEncoder(in), json.NewDecoder(out), cmd.Process.Pid}
}

func (e *end) report() endReport {
	e.t.Helper()
	return e.ask(tell)
}

func (e *end) ask(question int) (r endReport) {
	e.t.Helper()
	if err := errors.Join(e.questions.Encode(question), e.answers.Decode(&r)); err != nil {
		e.t.Fatal(err)
	}
	return r
}
