// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"cmp"
	"slices"

	"github.com/weft-project/weft/pkg/apis/v1alpha1"
)

// Key identifies an object.
type Key struct {
	Kind, Namespace, Name string
}

// KeyOf returns the key of an object.
func KeyOf(o v1alpha1.Object) Key {
	m := o.GetMeta()
	return Key{Kind: o.GetType().Kind, Namespace: m.Namespace, Name: m.Name}
}

// String renders the key as "Kind namespace/name", without the default
// namespace.
func (k Key) String() string {
	kind, name := k.Kind, k.Name
	if kind == "" {
		kind = "object"
	}
	if name == "" {
		name = "(no name)"
	}
	if k.Namespace == "" || k.Namespace == v1alpha1.DefaultNamespace {
		return kind + " " + name
	}
	return kind + " " + k.Namespace + "/" + name
}

// sortKeys orders keys by kind (those that others refer to first), namespace
// and name.
func sortKeys(keys []Key) {
	rank := map[string]int{}
	for i, k := range v1alpha1.Kinds() {
		rank[k.Kind] = i
	}
	slices.SortFunc(keys, func(a, b Key) int {
		return cmp.Or(
			cmp.Compare(rank[a.Kind], rank[b.Kind]),
			cmp.Compare(a.Namespace, b.Namespace),
			cmp.Compare(a.Name, b.Name),
		)
	})
}
