// SPDX-License-Identifier: Apache-2.0

package bfd

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The document's table names tests that exist, and has one in every row.
func TestConformanceTable(t *testing.T) {
	text, err := os.ReadFile("../../docs/bfd.md")
	if err != nil {
		t.Fatal(err)
	}
	exist := map[string]bool{}
	for _, pattern := range []string{"*_test.go", "bfdnet/*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatal(pattern, err)
		}
		for _, file := range files {
			code, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, match := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`).FindAllStringSubmatch(string(code), -1) {
				exist[match[1]] = true
			}
		}
	}
	name := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`")
	rows := 0
	for line := range strings.Lines(string(text)) {
		tests := name.FindAllStringSubmatch(line, -1)
		if strings.HasPrefix(line, "| 6.") || strings.HasPrefix(line, "| RFC") {
			rows++
			if len(tests) == 0 {
				t.Errorf("no test shows %s", line)
			}
		}
		for _, test := range tests {
			if !exist[test[1]] {
				t.Errorf("there is no %s", test[1])
			}
		}
	}
	if rows < 15 {
		t.Errorf("only %d rows", rows)
	}
}
