// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Style is the colour of a cell.
type Style int

// The styles.
const (
	Plain Style = iota
	Good
	Bad
	Pending
)

var escapes = map[Style]string{Good: "\x1b[32m", Bad: "\x1b[31m", Pending: "\x1b[33m"}

// Paint colours a text, if colour is wanted.
func (s Style) Paint(text string, color bool) string {
	if code := escapes[s]; color && code != "" {
		return code + text + "\x1b[0m"
	}
	return text
}

// Cell is one field of a table.
type Cell struct {
	Text  string
	Style Style
}

// Text is a cell without colour; the empty text is shown as "-".
func Text(s string) Cell { return Cell{Text: s} }

// Textf is Text with a format.
func Textf(format string, args ...any) Cell { return Cell{Text: fmt.Sprintf(format, args...)} }

// List joins values with commas.
func List(values []string) Cell { return Cell{Text: strings.Join(values, ",")} }

// Table prints rows in columns, two blanks apart.
type Table struct {
	Header []string
	Rows   [][]Cell
}

// Add appends a row.
func (t *Table) Add(cells ...Cell) { t.Rows = append(t.Rows, cells) }

// Print writes the table. The last column is not padded.
func (t *Table) Print(w io.Writer, color bool) error {
	header := make([]Cell, len(t.Header))
	for i, h := range t.Header {
		header[i] = Text(h)
	}
	rows := append([][]Cell{header}, t.Rows...)
	widths := make([]int, len(t.Header))
	for _, row := range rows {
		for i := range row {
			if row[i].Text == "" {
				row[i].Text = "-"
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i].Text))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		for i, c := range row {
			text := oneLine(c.Text)
			b.WriteString(c.Style.Paint(text, color))
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(text)+2))
			}
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// oneLine keeps a message from breaking the table. Line breaks and blanks have
// the same width, so that columns stay aligned.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' || r == '\t' {
			return ' '
		}
		return r
	}, s)
}
