// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/weft-project/weft/pkg/apis/v1alpha1"
)

// maxFileSize bounds one file; the largest sensible set is far below.
const maxFileSize = 3 << 20

// File is a YAML file with any number of documents.
type File struct {
	// Name is shown in problems.
	Name string
	Data []byte
}

// Document is one object together with where it was read.
type Document struct {
	Object v1alpha1.Object
	// File and Line are where the document starts; File is empty for an object
	// that was applied earlier.
	File string
	Line int

	dialect dialect
	// lines maps the paths of the fields present to their lines.
	lines map[string]int
	// bad holds the paths of the fields that could not be decoded, so that
	// validation does not complain about them a second time.
	bad map[string]bool
}

// companions are the kinds that stand beside Meridio's in its manifests and
// have no meaning here. They are skipped with a warning.
var companions = map[string]string{
	"k8s.cni.cncf.io/v1 NetworkAttachmentDefinition": "it belongs to Multus",
	"v1 Namespace": "namespaces need no object here",
}

// Key returns the key of the document's object.
func (d *Document) Key() Key { return KeyOf(d.Object) }

// has reports whether the manifest has the field.
func (d *Document) has(path string) bool {
	_, ok := d.lines[path]
	return ok
}

// line returns the line of a field or of its nearest parent that is present.
func (d *Document) line(path string) int {
	for path != "" {
		if l, ok := d.lines[path]; ok {
			return l
		}
		path = parentPath(path)
	}
	return d.Line
}

func parentPath(path string) string {
	if i := strings.LastIndexAny(path, ".["); i >= 0 {
		return path[:i]
	}
	return ""
}

// isBad reports whether the field or a parent of it could not be decoded.
func (d *Document) isBad(path string) bool {
	for ; path != ""; path = parentPath(path) {
		if d.bad[path] {
			return true
		}
	}
	return false
}

// Decode reads files. Documents that could be read at least in part are
// returned even when there are problems.
func Decode(files []File) ([]*Document, Problems) {
	var docs []*Document
	var problems Problems
	for _, f := range files {
		d, p := decodeFile(f)
		docs = append(docs, d...)
		problems = append(problems, p...)
	}
	return docs, problems
}

func decodeFile(f File) ([]*Document, Problems) {
	r := &reader{file: f.Name, budget: maxNodes}
	if len(f.Data) > maxFileSize {
		r.report(Key{}, 1, "", "the file is larger than %d bytes", maxFileSize)
		return nil, r.problems
	}
	dec := yaml.NewDecoder(bytes.NewReader(f.Data))
	for {
		var root yaml.Node
		err := dec.Decode(&root)
		if errors.Is(err, io.EOF) {
			return r.docs, r.problems
		}
		if err != nil {
			line, reason := syntaxError(err)
			r.report(Key{}, line, "", "not valid YAML: %s", reason)
			return r.docs, r.problems
		}
		if root.Kind == yaml.DocumentNode && len(root.Content) == 1 {
			r.document(root.Content[0])
		}
	}
}

var yamlErrorLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?(?s:(.*))$`)

// syntaxError splits the YAML package's message into line and reason.
func syntaxError(err error) (int, string) {
	m := yamlErrorLine.FindStringSubmatch(err.Error())
	line, convErr := strconv.Atoi(m[1])
	if convErr != nil {
		line = 1 // the package leaves the number out for the first line
	}
	return line, strings.ReplaceAll(m[2], "\n", " ")
}

// reader collects the documents and problems of one file.
type reader struct {
	file     string
	docs     []*Document
	problems Problems
	// budget is how many more nodes may be visited: aliases can make a small
	// file huge.
	budget int
}

func (r *reader) report(key Key, line int, field, format string, args ...any) {
	r.problems = append(r.problems, Problem{
		File: r.file, Line: line, Key: key, Field: field, Reason: fmt.Sprintf(format, args...),
	})
}

// document reads one YAML document: an object or a Kubernetes List of objects.
func (r *reader) document(n *yaml.Node) {
	n = resolve(n)
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		r.report(Key{}, n.Line, "", "a document must be a mapping with apiVersion, kind, metadata and spec, not %s", describe(n))
		return
	}
	apiVersion, kind := stringAt(n, "apiVersion"), stringAt(n, "kind")
	if apiVersion == "v1" && kind == "List" {
		r.list(n)
		return
	}
	key := Key{Kind: kind}
	if m := child(n, "metadata"); m != nil {
		key.Namespace, key.Name = stringAt(m, "namespace"), stringAt(m, "name")
	}
	if why, ok := companions[apiVersion+" "+kind]; ok {
		r.report(key, n.Line, "", "skipped: %s", why)
		r.problems[len(r.problems)-1].Warning = true
		return
	}
	d, ok := dialects[apiVersion]
	if !ok {
		r.unknownVersion(key, n, apiVersion)
		return
	}
	info, ok := v1alpha1.LookupKind(kind)
	if !ok {
		r.unknownKind(key, n, kind)
		return
	}
	r.object(n, d, info, key)
}

func (r *reader) list(n *yaml.Node) {
	items := child(n, "items")
	if items == nil || items.Kind != yaml.SequenceNode {
		r.report(Key{Kind: "List"}, n.Line, "items", "must be a list of objects")
		return
	}
	for _, item := range items.Content {
		if r.budget--; r.budget < 0 {
			return
		}
		if item = resolve(item); stringAt(item, "kind") == "List" {
			r.report(Key{Kind: "List"}, item.Line, "items", "a List must not stand in a List")
			continue
		}
		r.document(item)
	}
}

func (r *reader) unknownVersion(key Key, n *yaml.Node, apiVersion string) {
	line := n.Line
	if c := child(n, "apiVersion"); c != nil {
		line = c.Line
	}
	r.report(key, line, "apiVersion", "%s is not known; use %s (or %s/v1 or %s/v1alpha1)",
		orMissing(apiVersion), v1alpha1.APIVersion, meridioGroup, meridioGroup)
}

func (r *reader) unknownKind(key Key, n *yaml.Node, kind string) {
	line := n.Line
	if c := child(n, "kind"); c != nil {
		line = c.Line
	}
	if kind == v1alpha1.KindAttachment {
		r.report(key, line, "kind", `an Attachment cannot be applied; "weft attachment add" makes one`)
		return
	}
	var names []string
	for _, k := range v1alpha1.Kinds() {
		names = append(names, k.Kind)
	}
	r.report(key, line, "kind", "%s is not known; the kinds are %s%s",
		orMissing(kind), strings.Join(names, ", "), didYouMean(kind, names))
}

func orMissing(s string) string {
	if s == "" {
		return "a missing or empty value"
	}
	return strconv.Quote(s)
}

// object decodes one object of a known kind.
func (r *reader) object(n *yaml.Node, d dialect, info v1alpha1.KindInfo, key Key) {
	doc := &Document{
		Object: info.New(), File: r.file, Line: n.Line, dialect: d,
		lines: map[string]int{}, bad: map[string]bool{},
	}
	dec := &nodeDecoder{reader: r, doc: doc, key: key}
	dec.object(n)
	m := doc.Object.GetMeta()
	if m.Namespace == "" {
		m.Namespace = v1alpha1.DefaultNamespace
	}
	r.docs = append(r.docs, doc)
}
