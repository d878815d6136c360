// SPDX-License-Identifier: Apache-2.0

package bfd

import (
	"crypto/sha1"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
)

// AuthKind is the type of an authentication section (RFC 5880, 4.1).
type AuthKind uint8

// The types. Sessions use none or SHA1; all are decoded.
const (
	NoAuth AuthKind = iota
	SimplePassword
	KeyedMD5
	MeticulousKeyedMD5
	KeyedSHA1
	MeticulousKeyedSHA1
)

func (k AuthKind) String() string {
	if int(k) < len(authNames) {
		return authNames[k]
	}
	return fmt.Sprintf("authentication type %d", uint8(k))
}

var authNames = [...]string{"none", "simple-password", "keyed-md5", "meticulous-keyed-md5", "keyed-sha1", "meticulous-keyed-sha1"}

// Auth is how the packets of a session are authenticated, in both directions.
type Auth struct {
	Type  AuthKind // KeyedSHA1 or MeticulousKeyedSHA1
	KeyID uint8
	Key   []byte // 1 to 20 bytes
}

// Section is the authentication section of a packet (RFC 5880, 4.2 to 4.4).
type Section struct {
	Type     AuthKind
	KeyID    uint8
	Sequence uint32 // of MD5 and SHA1
	Data     []byte // password, digest, or what an unknown type has
}

const (
	sha1Length = 28
	md5Length  = 24
	digestAt   = headerLength + 8 // in a packet with SHA1
)

// decode reads a section, which is all of b: at least its type and length.
func (s *Section) decode(b []byte) Reason {
	kind, length := AuthKind(b[0]), int(b[1])
	if length < 2 || length != len(b) {
		return BadLength
	}
	*s = Section{Type: kind, Data: b[2:]}
	switch kind {
	case NoAuth:
		return AuthType // reserved; the bit says that there is one
	case SimplePassword:
		if length < 4 || length > 19 {
			return BadLength
		}
		s.KeyID, s.Data = b[2], b[3:]
	case KeyedMD5, MeticulousKeyedMD5:
		return s.decodeDigest(b, md5Length)
	case KeyedSHA1, MeticulousKeyedSHA1:
		return s.decodeDigest(b, sha1Length)
	}
	return Accepted
}

func (s *Section) decodeDigest(b []byte, want int) Reason {
	if len(b) != want {
		return BadLength
	}
	s.KeyID, s.Sequence, s.Data = b[2], binary.BigEndian.Uint32(b[4:]), b[8:]
	return Accepted
}

func (s *Section) length() int {
	switch s.Type {
	case NoAuth:
		return 0
	case SimplePassword:
		return 3 + len(s.Data)
	case KeyedMD5, MeticulousKeyedMD5:
		return md5Length
	case KeyedSHA1, MeticulousKeyedSHA1:
		return sha1Length
	}
	return 2 + len(s.Data)
}

func (s *Section) append(b []byte) []byte {
	if s.Type == NoAuth {
		return b
	}
	b = append(b, byte(s.Type), byte(s.length()))
	switch s.Type {
	case SimplePassword:
		return append(append(b, s.KeyID), s.Data...)
	case KeyedMD5, MeticulousKeyedMD5, KeyedSHA1, MeticulousKeyedSHA1:
		b = binary.BigEndian.AppendUint32(append(b, s.KeyID, 0), s.Sequence)
		var digest [sha1Length - 8]byte
		copy(digest[:], s.Data)
		return append(b, digest[:s.length()-8]...)
	}
	return append(b, s.Data...)
}

// sign writes the digest of a packet with a section of SHA1 (RFC 5880, 6.7.4).
func (a *Auth) sign(packet []byte) {
	digest := a.digest(packet)
	copy(packet[digestAt:], digest[:])
}

// verify compares the digest of a packet; it restores what it overwrites.
func (a *Auth) verify(packet []byte) bool {
	received := [sha1.Size]byte(packet[digestAt:])
	digest := a.digest(packet)
	copy(packet[digestAt:], received[:])
	return subtle.ConstantTimeCompare(digest[:], received[:]) == 1
}

// digest is over the whole packet, with the padded key where the digest goes.
func (a *Auth) digest(packet []byte) [sha1.Size]byte {
	var key [sha1.Size]byte
	copy(key[:], a.Key)
	copy(packet[digestAt:], key[:])
	return sha1.Sum(packet[:digestAt+sha1.Size])
}

// inWindow tells whether a sequence number may follow the last one (6.7.4); the
// numbers are circular.
func (a *Auth) inWindow(sequence, last uint32, multiplier uint8) bool {
	distance := sequence - last
	if a.Type == MeticulousKeyedSHA1 && distance == 0 {
		return false
	}
	return distance <= 3*uint32(multiplier)
}
