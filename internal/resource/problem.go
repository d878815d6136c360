// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"fmt"
	"sort"
	"strings"
)

// Problem is one thing wrong with one field of one object.
type Problem struct {
	// File and Line (from 1) say where it stands. File is empty for an object
	// that was applied earlier.
	File string
	Line int
	// Key is the object; its parts may be empty when they cannot be read.
	Key Key
	// Field is the path of the field, such as "spec.vips[1]"; may be empty.
	Field string
	// Reason says what is wrong and, where possible, what would be right.
	Reason string
	// Warning marks what is accepted but probably not meant.
	Warning bool
}

// String renders the problem in one line: "file:line: Kind name: field: reason".
func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		fmt.Fprintf(&b, "%s:%d: ", p.File, p.Line)
	}
	if p.Warning {
		b.WriteString("warning: ")
	}
	if p.Key != (Key{}) {
		fmt.Fprintf(&b, "%s: ", p.Key)
	}
	if p.Field != "" {
		fmt.Fprintf(&b, "%s: ", p.Field)
	}
	b.WriteString(p.Reason)
	return b.String()
}

// Problems is a list of problems; as an error it is one problem per line.
type Problems []Problem

// Error implements error.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Errors returns the problems that are not warnings.
func (ps Problems) Errors() Problems { return ps.filter(false) }

// Warnings returns the warnings.
func (ps Problems) Warnings() Problems { return ps.filter(true) }

func (ps Problems) filter(warning bool) Problems {
	var out Problems
	for _, p := range ps {
		if p.Warning == warning {
			out = append(out, p)
		}
	}
	return out
}

// sortByPlace orders problems by file (in the order given), then line.
// Problems of objects applied earlier come last.
func (ps Problems) sortByPlace(files []File) {
	order := make(map[string]int, len(files))
	for i, f := range files {
		order[f.Name] = i
	}
	place := func(p Problem) (int, int) {
		if p.File == "" {
			return len(files), 0
		}
		return order[p.File], p.Line
	}
	sort.SliceStable(ps, func(i, j int) bool {
		fi, li := place(ps[i])
		fj, lj := place(ps[j])
		if fi != fj {
			return fi < fj
		}
		return li < lj
	})
}
