// SPDX-License-Identifier: Apache-2.0

package bfd

import (
	"bytes"
	"testing"
	"time"
)

// Whatever arrives, a session keeps its invariants, and what is decoded is
// written as it was read.
func FuzzReceive(f *testing.F) {
	for _, section := range []Section{
		{}, {Type: SimplePassword, KeyID: 1, Data: []byte("password")}, {Type: KeyedMD5, Sequence: 3}, {Type: MeticulousKeyedMD5},
		{Type: KeyedSHA1, KeyID: 1, Sequence: 9}, {Type: MeticulousKeyedSHA1}, {Type: 77, Data: []byte{1}},
	} {
		for _, state := range []State{AdminDown, Down, Init, Up} {
			p := from(state)
			p.Auth = section
			f.Add(p.Append(nil), section.Type != NoAuth)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte, authenticated bool) {
		cfg := usual()
		if authenticated {
			cfg.Auth = &Auth{Type: KeyedSHA1, KeyID: 1, Key: []byte("key")}
		}
		table, s, now := newTable(t, cfg)
		before := bytes.Clone(raw)
		for range 3 {
			_, reason := table.Receive(raw, path, now)
			if !bytes.Equal(raw, before) {
				t.Fatal("the packet was changed")
			}
			if (reason == Accepted) == (s.Status().Received == 0) {
				t.Fatalf("%v, %+v", reason, s.Status())
			}
			for out := s.Transmit(nil, now); out != nil; out = s.Transmit(nil, now) {
				var p Packet
				if got := p.Decode(out); got != Accepted {
					t.Fatalf("sent %x, which is to be discarded: %v", out, got)
				}
			}
			if at := s.Deadline(now); !at.IsZero() && at.Before(now) && !s.Expire(now) && s.Transmit(nil, now) == nil && s.Deadline(now).Before(now) {
				t.Fatal("a deadline that passes without effect")
			}
			now = now.Add(time.Second)
		}
		var p Packet
		if p.Decode(raw) == Accepted && (p.Auth.Type == NoAuth || p.Auth.Type == SimplePassword) {
			var again Packet
			if again.Decode(p.Append(nil)) != Accepted || again.MyDiscriminator != p.MyDiscriminator || again.Auth.KeyID != p.Auth.KeyID {
				t.Fatalf("%+v became %+v", p, again)
			}
		}
	})
}
