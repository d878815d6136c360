// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// SecretDir reads keys as Kubernetes mounts Secrets: each key is a file
// <dir>/<secret>/<key>. One line end at the end of a file does not count.
func SecretDir(dir string) SecretReader {
	return func(source, key string) ([]byte, error) {
		if dir == "" {
			return nil, errors.New("no directory of secrets is configured (secrets-dir)")
		}
		value, err := os.ReadFile(filepath.Join(dir, source, key))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("there is no file %s", filepath.Join(dir, source, key))
		}
		if err != nil {
			return nil, err
		}
		return bytes.TrimSuffix(value, []byte("\n")), nil
	}
}
