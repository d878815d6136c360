// SPDX-License-Identifier: Apache-2.0

package vlan

import (
	"errors"
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
	actUnspec   = ^uint32(0) // TC_ACT_UNSPEC
	actShot     = 2          // TC_ACT_SHOT
	actRedirect = 7          // TC_ACT_REDIRECT
)

// verdict is what a test run of a program shows.
type verdict struct {
	Action  uint32
	Reason  Reason
	IfIndex int // redirected to
	Copies  int
	Tag     int // in the metadata, -1: none
	Frame   []byte
}

func (v verdict) String() string {
	return fmt.Sprintf("action %d, %v, to %d, %d copies, tag %d, %x", int32(v.Action), v.Reason, v.IfIndex, v.Copies, v.Tag, v.Frame)
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// unattached loads the programs without attaching them to anything.
func unattached(t testing.TB) *VLAN {
	t.Helper()
	testutil.Require(t, "bpf")
	v, err := Open(Config{})
	if err != nil {
		var verifier *ebpf.VerifierError
		errors.As(err, &verifier)
		t.Fatalf("%v: %+v", err, verifier)
	}
	t.Cleanup(func() { must(t, v.Close(false)) })
	return v
}

// write is set without attaching.
func (v *VLAN) write(p Port) error {
	v.ports[p.IfIndex] = p
	v.generation++
	return errors.Join(v.objects.VlPorts.Put(uint32(p.IfIndex), vlanPort{
		Ifindex: uint32(p.IfIndex), Generation: v.generation, Base: uint32(p.Base), Vlan: uint16(p.VLAN), Mac: [6]byte(p.MAC),
	}), v.follow(p))
}

// run puts a frame through a program as if it came in on an interface.
func run(t testing.TB, program *ebpf.Program, ifindex int, frame []byte) verdict {
	t.Helper()
	in, out := skbuff{IngressIfindex: uint32(ifindex)}, skbuff{}
	options := ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+64), Context: in, ContextOut: &out}
	action, err := program.Run(&options)
	must(t, err)
	result := verdict{
		Action: action, Reason: Reason(out.CB[1]), IfIndex: int(out.CB[0]), Copies: int(out.CB[2]), Tag: -1, Frame: options.DataOut,
	}
	if out.CB[3] != 0 {
		result.Tag = int(out.CB[3] & 0xffff)
	}
	return result
}

func mac(last byte) net.HardwareAddr { return net.HardwareAddr{2, 0, 0, 0, 7, last} }

var (
	broadcast = net.HardwareAddr{255, 255, 255, 255, 255, 255}
	multicast = net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}
)

// frame is an Ethernet frame with tags (TCI; a negative one is a service tag).
func frame(dst, src net.HardwareAddr, tags ...int) []byte {
	b := append(append([]byte{}, dst...), src...)
	for _, tag := range tags {
		if tag < 0 {
			tag = -tag
			b = append(b, 0x88, 0xa8)
		} else {
			b = append(b, 0x81, 0)
		}
		b = append(b, byte(tag>>8), byte(tag))
	}
	return append(b, 8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 1, 2, 0, 80, 0, 8, 0, 0)
}
