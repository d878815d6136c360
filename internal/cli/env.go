// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Env is everything a command touches outside of its arguments. Tests run
// commands in process with buffers.
type Env struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string
	// Terminal says that Stdout is one.
	Terminal bool
	Now      func() time.Time
}

// OSEnv returns the environment of the process.
func OSEnv() *Env {
	return &Env{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Getenv: os.Getenv, Terminal: isTerminal(os.Stdout), Now: time.Now,
	}
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// Color reports whether to colour: on a terminal that can, unless NO_COLOR
// (https://no-color.org) is set.
func (e *Env) Color() bool {
	return e.Terminal && e.Getenv("NO_COLOR") == "" && e.Getenv("TERM") != "dumb"
}
