// SPDX-License-Identifier: Apache-2.0

package weft

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/weft-project/weft/internal/resource"
)

// readManifests reads files, the YAML files of directories (not of those below
// them) in the order of their names, and "-", standard input.
func (a *app) readManifests(paths []string) ([]resource.File, error) {
	var files []resource.File
	for _, path := range paths {
		if path == "-" {
			data, err := io.ReadAll(a.env.Stdin)
			if err != nil {
				return nil, fmt.Errorf("read standard input: %w", err)
			}
			files = append(files, resource.File{Name: "stdin", Data: data})
			continue
		}
		names, err := manifestsAt(path)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				return nil, err
			}
			files = append(files, resource.File{Name: name, Data: data})
		}
	}
	return files, nil
}

func manifestsAt(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path) // sorted by name
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		ext := strings.ToLower(filepath.Ext(e.Name()))
		if !e.IsDir() && (ext == ".yaml" || ext == ".yml") {
			names = append(names, filepath.Join(path, e.Name()))
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("directory %s has no .yaml or .yml file", path)
	}
	return names, nil
}
