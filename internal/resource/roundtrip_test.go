// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"testing"

	"sigs.k8s.io/yaml"
)

// encodeAll writes the objects of documents as one YAML file.
func encodeAll(t *testing.T, docs []*Document) []byte {
	t.Helper()
	var out []byte
	for _, d := range docs {
		b, err := yaml.Marshal(d.Object)
		if err != nil {
			t.Fatal(err)
		}
		out = append(append(out, "---\n"...), b...)
	}
	return out
}
