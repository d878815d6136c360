// SPDX-License-Identifier: Apache-2.0

package fd

import "testing"

func FuzzParseInode(f *testing.F) {
	for _, seed := range []string{"inode://4/4026531840", "inode://x/1", "inode:4", "file:///x", "%", "inode://4//5"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		key, err := parseInode(text)
		if err != nil {
			return
		}
		if again, err := parseInode(key.url()); err != nil || again != key {
			t.Errorf("%q: %v, then %v, %v", text, key, again, err)
		}
	})
}
