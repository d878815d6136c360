// SPDX-License-Identifier: Apache-2.0

package bfd

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

var path = Path{Remote: netip.MustParseAddr("192.0.2.2"), Link: 3}

func newTable(t *testing.T, cfg Config) (*Table, *Session, time.Time) {
	t.Helper()
	now := time.Unix(1000, 0)
	table := NewTable(rand.New(rand.NewPCG(3, 4)).Uint64)
	s, err := table.Add(path, cfg, now)
	if err != nil {
		t.Fatal(err)
	}
	return table, s, now
}

// What 6.8.6 says to discard, in its order, with the reason that is counted.
func TestReceptionRules(t *testing.T) {
	other := path
	other.Remote = netip.MustParseAddr("192.0.2.3")
	elsewhere := path
	elsewhere.Link = 4
	auth := usual()
	auth.Auth = &Auth{Type: KeyedSHA1, KeyID: 1, Key: []byte("key")}
	for _, c := range []struct {
		name  string
		cfg   Config
		path  Path
		spoil func(p *Packet)
		bytes func(b []byte) []byte
		want  Reason
	}{
		{name: "good", want: Accepted},
		{name: "version", bytes: func(b []byte) []byte { b[0] = b[0]&0x1f | 2<<5; return b }, want: BadVersion},
		{name: "short", bytes: func(b []byte) []byte { return b[:23] }, want: BadLength},
		{name: "length below 24", bytes: func(b []byte) []byte { b[3] = 23; return b }, want: BadLength},
		{name: "length below 26 with authentication", bytes: func(b []byte) []byte { b[1] |= flagAuth; b[3] = 25; return append(b, 0) }, want: BadLength},
		{name: "length above payload", bytes: func(b []byte) []byte { b[3] = 25; return b }, want: BadLength},
		{name: "payload above length", bytes: func(b []byte) []byte { return append(b, 1, 2, 3) }, want: Accepted},
		{name: "multiplier", spoil: func(p *Packet) { p.Multiplier = 0 }, want: ZeroMultiplier},
		{name: "multipoint", bytes: func(b []byte) []byte { b[1] |= flagMultipoint; return b }, want: Multipoint},
		{name: "my discriminator", spoil: func(p *Packet) { p.MyDiscriminator = 0 }, want: ZeroDiscriminator},
		{name: "your discriminator", spoil: func(p *Packet) { p.YourDiscriminator++ }, want: UnknownDiscriminator},
		{name: "your discriminator 0, init", spoil: func(p *Packet) { p.YourDiscriminator, p.State = 0, Init }, want: ZeroYours},
		{name: "your discriminator 0, up", spoil: func(p *Packet) { p.YourDiscriminator, p.State = 0, Up }, want: ZeroYours},
		{name: "your discriminator 0, down", spoil: func(p *Packet) { p.YourDiscriminator, p.State = 0, Down }, want: Accepted},
		{name: "source", path: other, spoil: func(p *Packet) { p.YourDiscriminator, p.State = 0, Down }, want: UnknownSource},
		{name: "source changed, discriminator known", path: other, want: Accepted},
		{name: "interface", path: elsewhere, want: WrongLink},
		{name: "authenticated", spoil: func(p *Packet) { p.Auth = Section{Type: KeyedSHA1} }, want: AuthUnexpected},
		{name: "not authenticated", cfg: auth, want: AuthMissing},
		{name: "authentication length", cfg: auth, bytes: func(b []byte) []byte {
			b[1] |= flagAuth
			b[3] = 27
			return append(b, byte(KeyedSHA1), 28, 1)
		}, want: BadLength},
		{name: "type", cfg: auth, spoil: func(p *Packet) { p.Auth = Section{Type: KeyedMD5, KeyID: 1} }, want: AuthType},
		{name: "key", cfg: auth, spoil: func(p *Packet) { p.Auth = Section{Type: KeyedSHA1, KeyID: 2} }, want: AuthKeyID},
		{name: "digest", cfg: auth, spoil: func(p *Packet) { p.Auth = Section{Type: KeyedSHA1, KeyID: 1} }, want: AuthDigest},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.cfg.Multiplier == 0 {
				c.cfg = usual()
			}
			if !c.path.Remote.IsValid() {
				c.path = path
			}
			table, s, now := newTable(t, c.cfg)
			p := Packet{State: Init, Multiplier: 3, MyDiscriminator: 9, YourDiscriminator: s.Discriminator(), DesiredMinTx: time.Second, RequiredMinRx: time.Second}
			if c.spoil != nil {
				c.spoil(&p)
			}
			b := p.Append(nil)
			if c.bytes != nil {
				b = c.bytes(b)
			}
			_, got := table.Receive(b, c.path, now)
			if got != c.want {
				t.Errorf("%v, not %v", got, c.want)
			}
			if got != Accepted && (table.Discarded[got] != 1 || s.State() != Down || s.Status().Received != 0) {
				t.Errorf("discarded, but %v, %+v", table.Discarded, s.Status())
			}
		})
	}
}

func TestDiscriminators(t *testing.T) {
	values := []uint64{0, 5, 1, 2, 5, 6}
	table := NewTable(func() uint64 { v := values[0]; values = values[1:]; return v })
	first, err := table.Add(path, usual(), time.Unix(1, 0)) // 0 is no discriminator; 1 is a sequence number
	if err != nil || first.Discriminator() != 5 {
		t.Fatal(first, err)
	}
	if _, err := table.Add(path, usual(), time.Unix(1, 0)); err == nil {
		t.Error("two sessions on one path")
	}
	values = []uint64{5, 6, 1}
	next := path
	next.Link++
	second, err := table.Add(next, usual(), time.Unix(1, 0))
	if err != nil || second.Discriminator() != 6 {
		t.Error("two sessions with one discriminator")
	}
	table.Remove(first)
	if _, reason := table.Receive((&Packet{State: Down, Multiplier: 1, MyDiscriminator: 1}).Append(nil), path, time.Unix(1, 0)); reason != UnknownSource {
		t.Error(reason)
	}
}

// Sequence numbers of 6.7.4, circular.
func TestSequenceWindow(t *testing.T) {
	const last = 1<<32 - 2
	for _, kind := range []AuthKind{KeyedSHA1, MeticulousKeyedSHA1} {
		for _, c := range []struct {
			sequence uint32
			want     bool
		}{{last - 1, false}, {last, kind == KeyedSHA1}, {last + 1, true}, {0, true}, {7, true}, {8, false}} {
			cfg := usual()
			cfg.Auth = &Auth{Type: kind, KeyID: 2, Key: []byte("secret")}
			table, s, now := newTable(t, cfg)
			send := func(sequence uint32) Reason {
				p := Packet{State: Down, Multiplier: 3, MyDiscriminator: 9, DesiredMinTx: time.Second, RequiredMinRx: time.Second,
					Auth: Section{Type: kind, KeyID: 2, Sequence: sequence}}
				raw := p.Append(nil)
				cfg.Auth.sign(raw)
				_, reason := table.Receive(raw, path, now)
				return reason
			}
			if reason := send(last); reason != Accepted {
				t.Fatal(reason)
			}
			if got := send(c.sequence); (got == Accepted) != c.want {
				t.Errorf("%v: %d after %d: %v", kind, c.sequence, uint32(last), got)
			}
			now = now.Add(2 * s.DetectionTime())
			if reason := send(last - 1000); reason != Accepted {
				t.Errorf("%v: after twice the detection time: %v", kind, reason)
			}
		}
	}
}
