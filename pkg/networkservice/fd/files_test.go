// SPDX-License-Identifier: Apache-2.0

package fd

import "testing"

func TestPath(t *testing.T) {
	for text, want := range map[string]string{
		"file:///run/netns/a": "/run/netns/a",
		"file:///a%20b":       "/a b",
	} {
		if got, err := Path(t.Context(), text); err != nil || got != want {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "file://host/x", "/run/netns/a", "http://x", "inode://1/2", "inode://x", "%zz"} {
		if got, err := Path(t.Context(), text); err == nil {
			t.Errorf("%q: %q", text, got)
		}
	}
}
