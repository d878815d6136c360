// SPDX-License-Identifier: Apache-2.0

package lb

import "fmt"

// Mode says where the program meets the frames of the external interface.
type Mode uint8

// Modes. With XDP, frames are dropped and answered before the kernel has made
// packets of them, and the others reach tcx with their decision: it pays on an
// interface that runs XDP in its driver. On a veth it never does.
const (
	ModeAuto Mode = iota // XDP where it pays, else tcx
	ModeTCX
	ModeXDP // an error where the driver does not run it
)

var modeNames = [...]string{ModeAuto: "auto", ModeTCX: "tcx", ModeXDP: "xdp"}

// String is the name in configurations.
func (m Mode) String() string {
	if int(m) < len(modeNames) {
		return modeNames[m]
	}
	return fmt.Sprintf("mode_%d", uint8(m))
}

// MarshalText implements encoding.TextMarshaler.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *Mode) UnmarshalText(text []byte) (err error) {
	*m, err = ParseMode(string(text))
	return err
}

// ParseMode is the inverse of String. The empty text is ModeAuto.
func ParseMode(text string) (Mode, error) {
	if text == "" {
		return ModeAuto, nil
	}
	for m, name := range modeNames {
		if name == text {
			return Mode(m), nil
		}
	}
	return 0, fmt.Errorf("mode %q: neither auto, tcx nor xdp", text)
}
