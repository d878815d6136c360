// SPDX-License-Identifier: Apache-2.0

package frame_test

import (
	"encoding/hex"
	"errors"
	"testing"

	"github.com/weft-project/weft/internal/liveness/frame"
)

func TestWireFormat(t *testing.T) {
	f := frame.Frame{VNI: 0x123456, Type: frame.State, Flags: frame.Up | frame.Ask, Nonce: 0x0102030405060708}
	const want = "08000000" + "12345600" + // VXLAN
		"025745465402" + "025745465403" + "88b5" +
		"57454654" + "01" + "03" + "03" + "00" + "0102030405060708"
	if got := hex.EncodeToString(f.Append(nil)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestParse(t *testing.T) {
	good := frame.Frame{VNI: 7, Type: frame.StateAck, Nonce: 9}
	probe := frame.Frame{VNI: frame.ControlVNI, Type: frame.Probe, Nonce: 1}
	changed := func(f frame.Frame, at int, to byte) []byte {
		b := f.Append(nil)
		b[at] = to
		return b
	}
	for _, c := range []struct {
		name  string
		bytes []byte
		want  frame.Frame
		ok    bool
	}{
		{"a frame", good.Append(nil), good, true},
		{"a probe", probe.Append(nil), probe, true},
		{"padding", append(good.Append(nil), 0, 0, 0), good, true},
		{"other MAC addresses", changed(good, 9, 0xff), good, true},
		{"nothing", nil, frame.Frame{}, false},
		{"cut", good.Append(nil)[:frame.Len-1], frame.Frame{}, false},
		{"no VNI", changed(good, 0, 0), frame.Frame{}, false},
		{"other ethertype", changed(good, 20, 0x08), frame.Frame{}, false},
		{"other magic", changed(good, 22, 0), frame.Frame{}, false},
		{"other version", changed(good, 26, 2), frame.Frame{}, false},
		{"type 0", changed(good, 27, 0), frame.Frame{}, false},
		{"type 5", changed(good, 27, 5), frame.Frame{}, false},
		{"a probe in a leg's VNI", changed(good, 27, byte(frame.Probe)), frame.Frame{}, false},
		{"a state in the control VNI", changed(probe, 27, byte(frame.State)), frame.Frame{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := frame.Parse(c.bytes)
			if c.ok != (err == nil) || got != c.want || err != nil && !errors.Is(err, frame.ErrMalformed) {
				t.Errorf("got %+v, %v; want %+v, ok %v", got, err, c.want, c.ok)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(frame.Frame{VNI: 7, Type: frame.State, Flags: frame.Up, Nonce: 9}.Append(nil))
	f.Add(frame.Frame{VNI: frame.ControlVNI, Type: frame.ProbeReply, Nonce: 1 << 63}.Append(nil))
	f.Add(make([]byte, frame.Len))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := frame.Parse(b)
		if err != nil {
			return
		}
		again, err := frame.Parse(got.Append(nil))
		if err != nil || again != got {
			t.Errorf("%+v is written and read as %+v, %v", got, again, err)
		}
	})
}
