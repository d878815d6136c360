// SPDX-License-Identifier: Apache-2.0

package packet

// crc32cPoly is the polynomial of CRC32c (RFC 9260, appendix A), bits reversed:
// the highest bit of a number is the coefficient of x^0.
const crc32cPoly = 0x82f63b78

// CRC32CPowers returns x^(8*i) and x^(8*256*i) modulo the polynomial of CRC32c for
// i in 0 to 255, bits reversed. A CRC is linear: when bytes change by d (exclusive
// or) and n bytes follow them, it changes by the CRC of d alone, multiplied by
// x^(8*n), which is low[n%256] * high[n/256].
func CRC32CPowers() (low, high [256]uint32) {
	low[0], high[0] = 1<<31, 1<<31
	for i := 1; i < 256; i++ {
		low[i] = crcShift(low[i-1], 8)
	}
	page := crcShift(low[255], 8)
	for i := 1; i < 256; i++ {
		high[i] = crcMultiply(high[i-1], page)
	}
	return low, high
}

// crcShift multiplies by x^n.
func crcShift(v uint32, n int) uint32 {
	for range n {
		v = v>>1 ^ crc32cPoly&-(v&1)
	}
	return v
}

func crcMultiply(a, b uint32) (product uint32) {
	for range 32 {
		product ^= b & -(a >> 31)
		a <<= 1
		b = crcShift(b, 1)
	}
	return product
}
