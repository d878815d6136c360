// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxNodes bounds the nodes that one file may have after its aliases are
// followed.
const maxNodes = 500_000

// ignoredMetadata is what the Kubernetes API server writes into metadata and
// what has no meaning here. It is accepted so that the output of "kubectl get
// -o yaml" can be applied.
var ignoredMetadata = map[string]bool{
	"creationTimestamp": true, "resourceVersion": true, "uid": true, "managedFields": true,
	"ownerReferences": true, "finalizers": true, "selfLink": true, "generation": true,
	"deletionTimestamp": true, "deletionGracePeriodSeconds": true,
}

// nodeDecoder decodes one object. It follows the json tags of the Go types.
type nodeDecoder struct {
	reader *reader
	doc    *Document
	key    Key
}

func (d *nodeDecoder) fail(n *yaml.Node, path, format string, args ...any) {
	if path != "" {
		d.doc.bad[path] = true
	}
	d.reader.report(d.key, n.Line, path, format, args...)
}

// object decodes the top level, where the status is skipped: it is observed,
// never wanted.
func (d *nodeDecoder) object(n *yaml.Node) {
	v := reflect.ValueOf(d.doc.Object).Elem()
	d.mapping(n, "", func(key string, value *yaml.Node) bool {
		switch key {
		case "apiVersion", "kind":
			d.doc.lines[key] = value.Line
		case "metadata":
			d.metadata(value)
		case "spec":
			d.value(value, v.FieldByName("Spec"), "spec")
		case "status":
		default:
			return false
		}
		return true
	}, func() []string { return []string{"apiVersion", "kind", "metadata", "spec", "status"} })
}

func (d *nodeDecoder) metadata(n *yaml.Node) {
	d.doc.lines["metadata"] = n.Line
	meta := reflect.ValueOf(d.doc.Object.GetMeta()).Elem()
	d.mapping(n, "metadata", func(key string, value *yaml.Node) bool {
		if ignoredMetadata[key] {
			return true
		}
		f, ok := fieldByTag(meta, key)
		if ok {
			d.value(value, f, "metadata."+key)
		}
		return ok
	}, func() []string { return []string{"name", "namespace", "labels", "annotations"} })
}

// mapping calls visit for every key of a mapping and reports duplicate keys,
// keys that are no strings, and keys that visit refuses.
func (d *nodeDecoder) mapping(n *yaml.Node, path string, visit func(string, *yaml.Node) bool, known func() []string) {
	n = resolve(n)
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.fail(n, path, "must be a mapping, not %s", describe(n))
		return
	}
	seen := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		if !d.spend(n) {
			return
		}
		k, value := resolve(n.Content[i]), resolve(n.Content[i+1])
		field := joinPath(path, k.Value)
		switch first, dup := seen[k.Value]; {
		case k.Kind != yaml.ScalarNode:
			d.fail(k, path, "a key must be a string, not %s", describe(k))
			continue
		case k.Tag == "!!merge":
			d.fail(k, path, "merge keys (<<) are not supported; write the fields out")
			continue
		case dup:
			d.fail(k, field, "the key is there twice, first in line %d", first)
			continue
		}
		seen[k.Value] = k.Line
		if !visit(k.Value, value) {
			d.unknownField(k, path, known())
		}
	}
}

// spend takes one node from the file's budget.
func (d *nodeDecoder) spend(n *yaml.Node) bool {
	d.reader.budget--
	if d.reader.budget == -1 {
		d.reader.report(Key{}, n.Line, "", "the file has more than %d nodes once its aliases are followed", maxNodes)
	}
	return d.reader.budget >= 0
}

// value decodes a node into a Go value of one of the kinds that the resource
// types use. Null leaves the value as it is, as in Kubernetes.
func (d *nodeDecoder) value(n *yaml.Node, v reflect.Value, path string) {
	n = resolve(n)
	if !d.spend(n) || isNull(n) {
		return
	}
	d.doc.lines[path] = n.Line
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(n, v.Elem(), path)
	case reflect.Struct:
		d.mapping(n, path, func(key string, value *yaml.Node) bool {
			f, ok := fieldByTag(v, key)
			if ok = ok && d.inDialect(joinPath(path, key)); ok {
				d.value(value, f, joinPath(path, key))
			}
			return ok
		}, func() []string {
			return slices.DeleteFunc(tags(v.Type()), func(key string) bool { return !d.inDialect(joinPath(path, key)) })
		})
	case reflect.Map:
		d.stringMap(n, v, path)
	case reflect.Slice:
		d.slice(n, v, path)
	default:
		d.scalar(n, v, path)
	}
}

func (d *nodeDecoder) slice(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.SequenceNode {
		d.fail(n, path, "must be a list, not %s", describe(n))
		return
	}
	s := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		p := fmt.Sprintf("%s[%d]", path, i)
		if item = resolve(item); isNull(item) {
			d.fail(item, p, "must not be empty")
			continue
		}
		d.value(item, s.Index(i), p)
	}
	v.Set(s)
}

func (d *nodeDecoder) stringMap(n *yaml.Node, v reflect.Value, path string) {
	m := map[string]string{}
	d.mapping(n, path, func(key string, value *yaml.Node) bool {
		var s string
		d.value(value, reflect.ValueOf(&s).Elem(), joinPath(path, key))
		m[key] = s
		return true
	}, nil)
	v.Set(reflect.ValueOf(m))
}

func (d *nodeDecoder) scalar(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.ScalarNode {
		d.fail(n, path, "must be %s, not %s", describeKind(v.Kind()), describe(n))
		return
	}
	switch v.Kind() {
	case reflect.String:
		if n.Tag != "!!str" {
			d.fail(n, path, "must be a string, not %s; write %q", describe(n), n.Value)
			return
		}
		v.SetString(n.Value)
	case reflect.Bool:
		b, err := strconv.ParseBool(n.Value)
		if n.Tag != "!!bool" || err != nil {
			d.fail(n, path, "must be true or false, not %s", describe(n))
			return
		}
		v.SetBool(b)
	default:
		d.integer(n, v, path)
	}
}

func (d *nodeDecoder) integer(n *yaml.Node, v reflect.Value, path string) {
	if n.Tag != "!!int" {
		d.fail(n, path, "must be a whole number, not %s", describe(n))
		return
	}
	bits := v.Type().Bits()
	if v.CanUint() {
		u, err := strconv.ParseUint(n.Value, 0, bits)
		if err != nil {
			d.fail(n, path, "must be between 0 and %d, not %s", uint64(1)<<bits-1, n.Value)
			return
		}
		v.SetUint(u)
		return
	}
	i, err := strconv.ParseInt(n.Value, 0, bits)
	if err != nil {
		d.fail(n, path, "must be between %d and %d, not %s", -(int64(1) << (bits - 1)), int64(1)<<(bits-1)-1, n.Value)
		return
	}
	v.SetInt(i)
}

func fieldByTag(v reflect.Value, key string) (reflect.Value, bool) {
	t := v.Type()
	for i := range t.NumField() {
		if tagName(t.Field(i)) == key {
			return v.Field(i), true
		}
	}
	return reflect.Value{}, false
}

func tags(t reflect.Type) []string {
	var names []string
	for i := range t.NumField() {
		names = append(names, tagName(t.Field(i)))
	}
	return names
}

func tagName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

func joinPath(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// resolve follows an alias.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func child(n *yaml.Node, key string) *yaml.Node {
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return resolve(n.Content[i+1])
		}
	}
	return nil
}

func stringAt(n *yaml.Node, key string) string {
	if c := child(n, key); c != nil && c.Kind == yaml.ScalarNode && !isNull(c) {
		return c.Value
	}
	return ""
}

// describe names what a node is, for messages.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.Tag {
	case "!!null":
		return "null"
	case "!!str":
		return fmt.Sprintf("the string %q", n.Value)
	case "!!int", "!!float":
		return "the number " + n.Value
	case "!!bool":
		return "the boolean " + n.Value
	}
	return fmt.Sprintf("%q", n.Value)
}

func describeKind(k reflect.Kind) string {
	switch k {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	}
	return "a whole number"
}

// didYouMean suggests the known name that is closest to what was written.
func didYouMean(got string, known []string) string {
	best, bestDistance := "", 3
	for _, k := range known {
		if dist := distance(strings.ToLower(got), strings.ToLower(k)); dist < bestDistance {
			best, bestDistance = k, dist
		}
	}
	if best == "" || got == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// distance is the Levenshtein distance of two strings; long ones count as far
// apart.
func distance(a, b string) int {
	const far = 64
	if len(a) > far || len(b) > far {
		return far
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			diagonal, row[j] = row[j], min(row[j]+1, row[j-1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
