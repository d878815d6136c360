// SPDX-License-Identifier: Apache-2.0

package service

import (
	"runtime/debug"
	"testing"
)

func TestSaveMemory(t *testing.T) {
	before := debug.SetGCPercent(77)
	defer debug.SetGCPercent(before)
	t.Setenv("GOGC", "77")
	SaveMemory()
	if got := debug.SetGCPercent(77); got != 77 {
		t.Errorf("GOGC of the environment became %d", got)
	}
	t.Setenv("GOGC", "")
	SaveMemory()
	if got := debug.SetGCPercent(77); got != frugalGC {
		t.Errorf("GOGC is %d", got)
	}
}
