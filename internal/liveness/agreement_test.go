// SPDX-License-Identifier: Apache-2.0

package liveness_test

import (
	"os"
	"regexp"
	"strconv"
	"testing"

	"github.com/weft-project/weft/internal/liveness/frame"
	"github.com/weft-project/weft/pkg/dataplane/xconnect"
)

// TestAgreesWithProgram compares the codec with the program's header and with
// what bpf2go made of it. (That the frames are understood, TestNodes shows.)
func TestAgreesWithProgram(t *testing.T) {
	for _, c := range []struct {
		codec   frame.Type
		program xconnect.ControlType
	}{
		{frame.Probe, xconnect.ControlProbe},
		{frame.ProbeReply, xconnect.ControlProbeReply},
		{frame.State, xconnect.ControlState},
		{frame.StateAck, xconnect.ControlStateAck},
	} {
		if uint8(c.codec) != uint8(c.program) {
			t.Errorf("type %d is %d in the program", c.codec, c.program)
		}
	}
	header, err := os.ReadFile("../../bpf/lib/xc_types.h")
	must(t, err)
	for name, want := range map[string]uint64{
		"CONTROL_VNI": frame.ControlVNI, "CONTROL_ETHERTYPE": frame.EtherType,
		"CONTROL_MAGIC": frame.Magic, "CONTROL_VERSION": frame.Version,
	} {
		m := regexp.MustCompile(`(?m)^#define\s+` + name + `\s+(\w+)`).FindSubmatch(header)
		if m == nil {
			t.Errorf("%s is not defined", name)
			continue
		}
		if got, err := strconv.ParseUint(string(m[1]), 0, 64); err != nil || got != want {
			t.Errorf("%s is %d in the program, %v; %d here", name, got, err, want)
		}
	}
}
