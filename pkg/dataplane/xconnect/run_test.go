// SPDX-License-Identifier: Apache-2.0

package xconnect

import (
	"fmt"
	"net"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/weft-project/weft/internal/testutil"
)

// skbuff is struct __sk_buff.
type skbuff struct {
	Len, PktType, Mark, QueueMapping, Protocol, VLANPresent, VLANTCI, VLANProto,
	Priority, IngressIfindex, Ifindex, TCIndex uint32
	CB   [5]uint32
	Rest [31]uint32
}

const (
	actShot     = 2 // TC_ACT_SHOT
	actRedirect = 7 // TC_ACT_REDIRECT
)

// verdict is what a test run of the program shows.
type verdict struct {
	Action  uint32
	Reason  Reason
	IfIndex int // redirected to
	VNI     uint32
	Mark    uint32
	Frame   []byte
}

func open(t testing.TB, cfg Config) *XConnect {
	t.Helper()
	testutil.Require(t, "bpf")
	x, err := Open(cfg)
	if err != nil {
		var verifier *ebpf.VerifierError
		t.Fatalf("%+v %v", err, verifier)
	}
	t.Cleanup(func() {
		if err := x.Close(false); err != nil {
			t.Error(err)
		}
	})
	return x
}

// run puts a frame through the program as if it came in on an outer end.
func run(t testing.TB, x *XConnect, ifindex int, frame []byte) verdict {
	t.Helper()
	in, out := skbuff{IngressIfindex: uint32(ifindex)}, skbuff{}
	data := make([]byte, len(frame)+64)
	options := ebpf.RunOptions{Data: frame, DataOut: data, Context: in, ContextOut: &out}
	action, err := x.objects.Xconnect.Run(&options)
	if err != nil {
		t.Fatal(err)
	}
	return verdict{
		Action: action, Reason: Reason(out.CB[1]), IfIndex: int(out.CB[0]), VNI: out.CB[2], Mark: out.Mark, Frame: options.DataOut,
	}
}

// frame makes a UDP frame of a flow, at least as long as the header.
func frame(dst net.HardwareAddr, flow uint16) []byte {
	b := append(append([]byte{}, dst...), 2, 0, 0, 0, 9, 9, 8, 0)
	ip := []byte{0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2}
	return append(append(b, ip...), byte(flow>>8), byte(flow), 0, 80, 0, 8, 0, 0)
}

func mac(last byte) net.HardwareAddr { return net.HardwareAddr{2, 0, 0, 0, 7, last} }

// legs makes n legs, the first local ones local.
func legs(n, local int) []Leg {
	all := make([]Leg, n)
	for i := range all {
		all[i] = Leg{IfIndex: 100 + i, MAC: mac(byte(i)), Local: i < local}
	}
	return all
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (v verdict) String() string {
	return fmt.Sprintf("action %d, %v, to %d, VNI %d, %x", v.Action, v.Reason, v.IfIndex, v.VNI, v.Frame)
}
