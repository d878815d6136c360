// SPDX-License-Identifier: Apache-2.0

package bfdnet

import (
	"testing"

	"github.com/weft-project/weft/internal/bfd"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/testutil/router"
)

func TestAuthenticationWithBIRD(t *testing.T) {
	testutil.Require(t, "netns", "bird")
	for kind, words := range map[bfd.AuthKind]string{bfd.KeyedSHA1: "keyed sha1", bfd.MeticulousKeyedSHA1: "meticulous keyed sha1"} {
		t.Run(kind.String(), func(t *testing.T) {
			testutil.CheckLeaks(t)
			w := newWire(t, 2)
			router.StartBIRD(t, w.theirs, birdConfig(milliseconds, "authentication "+words+`; password "woven" { id 5; };`))
			s := newSpeaker(t, w.ours)
			set := func(auth *bfd.Auth) {
				wanted := sessions()
				for i := range wanted {
					wanted[i].Auth = auth
				}
				s.set(wanted...)
			}
			for want, auth := range map[bfd.Reason]*bfd.Auth{
				bfd.AuthUnexpected: nil,
				bfd.AuthKeyID:      {Type: kind, KeyID: 6, Key: []byte("woven")},
				bfd.AuthDigest:     {Type: kind, KeyID: 5, Key: []byte("knitted")},
				bfd.AuthType:       {Type: bfd.KeyedSHA1 + bfd.MeticulousKeyedSHA1 - kind, KeyID: 5, Key: []byte("woven")},
			} {
				set(auth)
				for _, name := range names {
					if !eventually(upLimit, func() bool { return s.status(name).LastError == want.String() }) {
						t.Errorf("%s does not say %q: %+v", name, want, s.status(name))
					}
					if s.status(name).State == bfd.Up {
						t.Errorf("%s is up though %v", name, want)
					}
				}
			}
			set(&bfd.Auth{Type: kind, KeyID: 5, Key: []byte("woven")})
			s.waitUp(names...)
			if got := s.status("v4").LastError; got != "" {
				t.Errorf("up, and says %q", got)
			}
		})
	}
}
