// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Options of IPv4 headers by what happens to them in later fragments.
var (
	recordRoute = []byte{7, 7, 4, 0, 0, 0, 0}    // not copied
	routerAlert = []byte{0x94, 4, 0, 0}          // copied
	looseRoute  = []byte{0x83, 7, 4, 9, 9, 9, 9} // copied
	noOperation = []byte{1}
	endOfList   = []byte{0}
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestCutIPv4(t *testing.T) {
	ip := ip4
	ip.Options = slices.Concat(recordRoute, routerAlert, endOfList)
	p := ip.Packet(Ethernet{}, UDP, ip.UDP(1, 2, []byte("0123456789ab")))[14:]
	binary.BigEndian.PutUint16(p[4:], 0x1234)
	binary.BigEndian.PutUint16(p[10:], 0)
	binary.BigEndian.PutUint16(p[10:], Checksum(0, p[:32]))
	got, err := CutIPv4([]byte("link"), p, 40)
	if err != nil {
		t.Fatal(err)
	}
	want := [][]byte{
		unhex(t, "6c696e6b"+"4800002812342000"+"09114ef5"+"0a000001"+"14000001"+"07070400000000"+"94040000"+"00"+"0001000200147b55"),
		unhex(t, "6c696e6b"+"4600002412340001"+"0911ec8e"+"0a000001"+"14000001"+"94040000"+"303132333435363738396162"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestCutIPv4Refuses(t *testing.T) {
	packet := func(change func(*IP), size int) []byte {
		ip := ip4
		change(&ip)
		return ip.Packet(Ethernet{}, UDP, make([]byte, size))[14:]
	}
	plain := func(*IP) {}
	wrongSum := packet(plain, 100)
	wrongSum[11]++
	for name, c := range map[string]struct {
		packet []byte
		mtu    int
		want   error
	}{
		"checksum":        {wrongSum, 68, ErrChecksum},
		"DF":              {packet(func(ip *IP) { ip.Fragment = 0x4000 }, 100), 68, ErrDontFragment},
		"IPv6":            {ip6.Packet(Ethernet{}, UDP, make([]byte, 100))[14:], 68, ErrDontFragment},
		"MTU":             {packet(plain, 100), 27, ErrMTU},
		"MTU of a header": {packet(func(ip *IP) { ip.Options = make([]byte, 40) }, 0), 59, ErrMTU},
		"too far":         {packet(func(ip *IP) { ip.Fragment = 0x1fff }, 100), 68, ErrLength},
		"odd length":      {packet(func(ip *IP) { ip.Fragment = FragmentMF }, 100), 68, ErrLength},
		"option length 1": {packet(func(ip *IP) { ip.Options = []byte{7, 1, 0, 0} }, 100), 68, ErrOptions},
		"long option":     {packet(func(ip *IP) { ip.Options = []byte{7, 5, 0, 0} }, 100), 68, ErrOptions},
		"half an option":  {packet(func(ip *IP) { ip.Options = []byte{1, 1, 1, 7} }, 100), 68, ErrOptions},
		"cut short":       {packet(plain, 100)[:100], 68, ErrLength},
		"nothing":         {nil, 68, ErrNetwork},
	} {
		if frames, err := CutIPv4(nil, c.packet, c.mtu); !errors.Is(err, c.want) || frames != nil {
			t.Errorf("%s: %d frames, %v, want %v", name, len(frames), err, c.want)
		}
	}
	if frames, err := CutIPv4(nil, packet(plain, 8), 28); err != nil || len(frames) != 1 {
		t.Errorf("one that fits: %d frames, %v", len(frames), err)
	}
}

// TestCutRandom cuts random packets, cuts what came out once more, and puts the
// fragments together as a receiver does.
func TestCutRandom(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 5000 {
		p, copied := randomPacket(r)
		field := binary.BigEndian.Uint16(p[6:])
		frames := [][]byte{p}
		for range 2 {
			mtu := 68 + r.IntN(1500)
			var pieces [][]byte
			for _, f := range frames {
				cut, err := CutIPv4(nil, f, mtu)
				if err != nil {
					t.Fatalf("MTU %d of %x: %v", mtu, f, err)
				}
				for _, c := range cut {
					if len(c) > mtu {
						t.Fatalf("%d bytes, MTU %d", len(c), mtu)
					}
				}
				pieces = append(pieces, cut...)
			}
			frames = pieces
		}
		data := p[int(p[0]&15)*4:]
		if got := reassemble(t, p, copied, frames); !bytes.Equal(got, data) {
			t.Fatalf("%x became %x", data, got)
		}
		if last := binary.BigEndian.Uint16(frames[len(frames)-1][6:]); last&FragmentMF != field&FragmentMF {
			t.Fatalf("the last of %04x has %04x", field, last)
		}
	}
}

// randomPacket returns a packet and which of its options are copied.
func randomPacket(r *rand.Rand) (p, copied []byte) {
	ip := ip4
	for range r.IntN(4) {
		o := [][]byte{recordRoute, routerAlert, looseRoute, noOperation}[r.IntN(4)]
		ip.Options = append(ip.Options, o...)
		if o[0]&0x80 != 0 {
			copied = append(copied, o...)
		}
	}
	for len(ip.Options)%4 != 0 {
		ip.Options = append(ip.Options, 0)
	}
	for len(copied)%4 != 0 {
		copied = append(copied, 0)
	}
	size := r.IntN(4000)
	if r.IntN(2) == 0 {
		ip.Fragment = uint16(r.IntN(2)) * uint16(r.IntN(1000))
		if r.IntN(2) == 0 {
			ip.Fragment |= FragmentMF
			size &^= 7
		}
	}
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	return ip.Packet(Ethernet{}, TCP, data)[14:], copied
}

// reassemble checks what must be equal in all fragments and returns the data.
func reassemble(t *testing.T, p, copied []byte, frames [][]byte) []byte {
	t.Helper()
	start := binary.BigEndian.Uint16(p[6:]) & offsetMask
	var data []byte
	for i, f := range frames {
		size := int(f[0]&15) * 4
		header := f[:size]
		if Checksum(0, header) != 0 || int(binary.BigEndian.Uint16(f[2:])) != len(f) {
			t.Fatalf("bad header %x", header)
		}
		if f[1] != p[1] || !bytes.Equal(f[4:6], p[4:6]) || !bytes.Equal(f[8:10], p[8:10]) || !bytes.Equal(f[12:20], p[12:20]) {
			t.Fatalf("header %x of %x", header, p[:20])
		}
		options := copied
		if i == 0 {
			options = p[20 : int(p[0]&15)*4]
		}
		if !bytes.Equal(header[20:], options) {
			t.Fatalf("fragment %d has options %x, want %x", i, header[20:], options)
		}
		field := binary.BigEndian.Uint16(f[6:])
		if int(field&offsetMask) != int(start)+len(data)/8 || i < len(frames)-1 && field&FragmentMF == 0 {
			t.Fatalf("fragment %d at %d has %04x", i, len(data), field)
		}
		data = append(data, f[size:]...)
	}
	return data
}
