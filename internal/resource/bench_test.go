// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"strconv"
	"strings"
	"testing"
)

// BenchmarkApply applies 10,000 flows at once.
func BenchmarkApply(b *testing.B) {
	var yaml strings.Builder
	yaml.WriteString(base)
	for i := range 10000 {
		yaml.WriteString("---\n" + manifest("Flow", "f"+strconv.Itoa(i),
			"stream: web\nvips: [v4, v6]\nprotocols: [tcp]\npriority: "+strconv.Itoa(i+10)+"\ndestination-ports: ['"+strconv.Itoa(i+1)+"']"))
	}
	files := []File{{"f", []byte(yaml.String())}}
	for b.Loop() {
		s, err := Open("")
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.Apply(files, ApplyOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}
