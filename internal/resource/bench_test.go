// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"strconv"
	"strings"
	"testing"
)

// BenchmarkApply applies 10,000 flows at once.
func BenchmarkApply(b *testing.B) {
	for name, spec := range map[string]func(i int) string{
		"priorities": func(i int) string {
			return "priority: " + strconv.Itoa(i+10) + "\ndestination-ports: ['" + strconv.Itoa(i+1) + "']"
		},
		"one-priority": func(i int) string {
			return "priority: 10\ndestination-ports: ['" + strconv.Itoa(i+1) + "']"
		},
		"one-priority-all-alike": func(int) string { return "priority: 10" },
		"target-ports": func(i int) string {
			return "priority: 10\ndestination-ports: ['" + strconv.Itoa(i+1) + "']\ntarget-port: " + strconv.Itoa(i+20000)
		},
	} {
		b.Run(name, func(b *testing.B) {
			var yaml strings.Builder
			yaml.WriteString(base)
			for i := range 10000 {
				yaml.WriteString("---\n" + manifest("Flow", "f"+strconv.Itoa(i),
					"stream: "+[...]string{"web", "api"}[i%2]+"\nvips: [v4, v6]\nprotocols: [tcp]\n"+spec(i)))
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
		})
	}
}
