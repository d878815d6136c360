// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"hash/crc32"
	"math/rand/v2"
	"testing"
)

// TestCRC32CPowers changes two bytes of random messages, and compares what their
// CRCs change by with what the powers say.
func TestCRC32CPowers(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	low, high := CRC32CPowers()
	table := crc32.MakeTable(crc32.Castagnoli)
	for _, size := range []int{2, 3, 12, 255, 256, 257, 258, 511, 1500, 65535} {
		message := make([]byte, size)
		for i := range message {
			message[i] = byte(r.Uint32())
		}
		before := crc32.Checksum(message, table)
		at := r.IntN(size - 1)
		change := [2]byte{byte(r.Uint32()), byte(r.Uint32())}
		message[at] ^= change[0]
		message[at+1] ^= change[1]
		follow := size - at - 2
		want := crcShift(uint32(change[0])|uint32(change[1])<<8, 16)
		want = crcMultiply(crcMultiply(want, low[follow%256]), high[follow/256])
		if got := crc32.Checksum(message, table) ^ before; got != want {
			t.Errorf("%d bytes after %d: CRC changes by %08x, want %08x", follow, at, got, want)
		}
	}
}
