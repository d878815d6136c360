// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// Format is an output format; it is a pflag.Value.
type Format string

// The formats.
const (
	FormatTable Format = "table"
	FormatWide  Format = "wide"
	FormatJSON  Format = "json"
	FormatYAML  Format = "yaml"
)

// Formats are the values that -o takes.
var Formats = []string{string(FormatTable), string(FormatWide), string(FormatJSON), string(FormatYAML)}

// String implements pflag.Value.
func (f *Format) String() string { return string(*f) }

// Type implements pflag.Value.
func (f *Format) Type() string { return "format" }

// Set implements pflag.Value.
func (f *Format) Set(s string) error {
	if !slices.Contains(Formats, s) {
		return fmt.Errorf("must be one of %s", strings.Join(Formats, ", "))
	}
	*f = Format(s)
	return nil
}

// Human reports whether people are to read the output.
func (f Format) Human() bool { return f == FormatTable || f == FormatWide }

// Write writes a value as JSON or YAML.
func (f Format) Write(w io.Writer, v any) error {
	if f == FormatYAML {
		b, err := yaml.Marshal(v)
		if err != nil {
			return err
		}
		_, err = w.Write(b)
		return err
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// WriteEvent writes one value of a stream: a line of JSON, or a YAML document.
func (f Format) WriteEvent(w io.Writer, v any) error {
	if f == FormatYAML {
		if _, err := io.WriteString(w, "---\n"); err != nil {
			return err
		}
		return f.Write(w, v)
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// Age renders how long ago something was, in its largest unit or two.
func Age(now, then time.Time) string {
	if then.IsZero() {
		return ""
	}
	d := now.Sub(then)
	switch {
	case d < 0:
		return "0s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
