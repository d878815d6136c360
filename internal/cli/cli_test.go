// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weft-project/weft/internal/resource"
	daemonv1 "github.com/weft-project/weft/pkg/api/daemon/v1"
)

func TestTable(t *testing.T) {
	table := Table{Header: []string{"NAME", "VALUE", "LAST"}}
	table.Add(Text("a"), Cell{"größer", Good}, Text("x\ny"))
	table.Add(Text("longer"), Text(""), List([]string{"1", "2"}))
	for color, want := range map[bool]string{
		false: "NAME    VALUE   LAST\na       größer  x y\nlonger  -       1,2\n",
		true:  "NAME    VALUE   LAST\na       \x1b[32mgrößer\x1b[0m  x y\nlonger  -       1,2\n",
	} {
		var b bytes.Buffer
		if err := table.Print(&b, color); err != nil {
			t.Fatal(err)
		}
		if b.String() != want {
			t.Errorf("colour %v:\n%q, want\n%q", color, b.String(), want)
		}
	}
}

func TestAge(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for want, ago := range map[string]time.Duration{
		"0s": -time.Second, "119s": 119 * time.Second, "2m": 2 * time.Minute, "119m": 119*time.Minute + 59*time.Second,
		"2h": 2 * time.Hour, "47h": 47 * time.Hour, "2d": 48 * time.Hour,
	} {
		if got := Age(now, now.Add(-ago)); got != want {
			t.Errorf("%s ago: %s, want %s", ago, got, want)
		}
	}
	if got := Age(now, time.Time{}); got != "" {
		t.Errorf("never: %q", got)
	}
}

func TestSentence(t *testing.T) {
	for want, err := range map[string]error{
		"plain":                        errors.New("plain"),
		`spec.interface: "x" is taken`: status.Error(codes.AlreadyExists, `spec.interface: "x" is taken`),
		"ResourceExhausted":            status.Error(codes.ResourceExhausted, " "),
		"no answer in time (--timeout): context deadline exceeded": status.FromContextError(context.DeadlineExceeded).Err(),
		"interrupted": status.FromContextError(context.Canceled).Err(),
		"this socket does not offer that (unknown); is it the right one?": status.Error(codes.Unimplemented, "unknown"),
		"the connection was lost: EOF":                                    status.Error(codes.Unavailable, "EOF"),
		"the daemon met an error of its own: keep resources: disk full":   status.Error(codes.Internal, "keep resources: disk full"),
	} {
		if got := Sentence(err); got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
}

func TestPrintError(t *testing.T) {
	detailed, err := status.New(codes.InvalidArgument, "one").WithDetails(&daemonv1.Problems{Problems: []*daemonv1.Problem{
		{File: "f", Line: 3, Object: &daemonv1.Key{Kind: "Vip", Namespace: "n", Name: "v"}, Field: "spec.address", Reason: "is odd"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		err  error
		want string
		code int
	}{
		{errors.New("x"), "weft: x\n", ExitError},
		{Usagef("x %d", 1), "weft: x 1\n", ExitUsage},
		{fmt.Errorf("load: %w", resource.Problems{{Reason: "a"}, {Reason: "b"}}), "a\nb\nweft: 2 problems; nothing was changed\n", ExitError},
		{detailed.Err(), "f:3: Vip n/v: spec.address: is odd\nweft: 1 problem; nothing was changed\n", ExitError},
	}
	for _, tt := range tests {
		var b strings.Builder
		if code := PrintError(&b, "weft", tt.err); code != tt.code || b.String() != tt.want {
			t.Errorf("%v: exit code %d, %q; want %d, %q", tt.err, code, b.String(), tt.code, tt.want)
		}
	}
}

func TestFormat(t *testing.T) {
	f := FormatTable
	if err := f.Set("xml"); err == nil || f != FormatTable {
		t.Errorf("error %v, format %s", err, f)
	}
	for _, name := range Formats {
		if err := f.Set(name); err != nil || f.String() != name {
			t.Errorf("%s: error %v, format %s", name, err, f)
		}
	}
	value := map[string]any{"a": "<b>", "c": 1}
	for want, print := range map[string]func(*bytes.Buffer) error{
		"{\n  \"a\": \"<b>\",\n  \"c\": 1\n}\n": func(b *bytes.Buffer) error { return FormatJSON.Write(b, value) },
		"{\"a\":\"<b>\",\"c\":1}\n":             func(b *bytes.Buffer) error { return FormatJSON.WriteEvent(b, value) },
		"a: <b>\nc: 1\n":                        func(b *bytes.Buffer) error { return FormatYAML.Write(b, value) },
		"---\na: <b>\nc: 1\n":                   func(b *bytes.Buffer) error { return FormatYAML.WriteEvent(b, value) },
	} {
		var b bytes.Buffer
		if err := print(&b); err != nil || b.String() != want {
			t.Errorf("%q, %v; want %q", b.String(), err, want)
		}
	}
}

func TestVersion(t *testing.T) {
	if v := Version(); v.GetVersion() == "" || !strings.HasPrefix(v.GetGoVersion(), "go") {
		t.Errorf("version %v", v)
	}
}
