// SPDX-License-Identifier: Apache-2.0

package preflight

import (
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	good := Machine{Capable: true, Release: "6.6.0-amd64", Filesystems: "nodev\tproc\nnodev\tbpf\n\text4\n"}
	for _, tt := range []struct {
		name   string
		change func(*Machine)
		want   string // part of the error, "" = none
	}{
		{"good", func(*Machine) {}, ""},
		{"next major", func(m *Machine) { m.Release = "7.0.1" }, ""},
		{"not root", func(m *Machine) { m.UID = 1000 }, "run it as root"},
		{"stripped root", func(m *Machine) { m.Capable = false }, "CAP_BPF"},
		{"old minor", func(m *Machine) { m.Release = "6.5.13" }, "from 6.6"},
		{"old major", func(m *Machine) { m.Release = "5.15.0-91-generic" }, "this is 5.15.0-91-generic"},
		{"strange release", func(m *Machine) { m.Release = "next" }, `release "next"`},
		{"no bpffs", func(m *Machine) { m.Filesystems = "nodev\tproc\n\tbpfish\n" }, "bpffs"},
	} {
		m := good
		tt.change(&m)
		err := m.Check()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: more than one line: %q", tt.name, err)
		}
	}
}

func TestThisReadsTheMachine(t *testing.T) {
	m, err := This()
	if err != nil {
		t.Fatal(err)
	}
	if m.Release == "" || m.Filesystems == "" {
		t.Errorf("incomplete: %+v", m)
	}
}
