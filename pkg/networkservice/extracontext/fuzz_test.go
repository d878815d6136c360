// SPDX-License-Identifier: Apache-2.0

package extracontext_test

import (
	"slices"
	"testing"

	"github.com/weft-project/weft/pkg/networkservice/extracontext"
)

// What parses is what was formatted: another replica reads the same streams.
func FuzzParseStreams(f *testing.F) {
	for _, seed := range []string{"", "a", "b,a", "a,,b", "a+b", "\xff", "a b", ",", "web,web"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		names, err := extracontext.ParseStreams(value)
		if err != nil {
			return
		}
		again, err := extracontext.ParseStreams(extracontext.FormatStreams(names))
		if err != nil || !slices.Equal(names, again) {
			t.Errorf("%q: %q, then %q, %v", value, names, again, err)
		}
		if !slices.IsSorted(names) {
			t.Errorf("%q: %q is not sorted", value, names)
		}
	})
}
