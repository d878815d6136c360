// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-project/weft/pkg/apis/v1alpha1"
)

// loadProblems decodes and checks files and returns the errors as lines, or the
// warnings if there are no errors.
func loadProblems(t *testing.T, files ...File) []string {
	t.Helper()
	docs, problems := Decode(files)
	problems = append(problems, Check(docs)...)
	problems.sortByPlace(files)
	if errs := problems.Errors(); len(errs) > 0 {
		problems = errs
	}
	lines := []string{}
	for _, p := range problems {
		lines = append(lines, p.String())
	}
	return lines
}

func readFile(t *testing.T, path string) File {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return File{Name: filepath.Base(path), Data: data}
}

func TestDecodeProblems(t *testing.T) {
	const trench = "apiVersion: weft.dev/v1alpha1\nkind: Trench\nmetadata: {name: a}\n---\n" // 4 lines
	tests := []struct {
		name, yaml string
		want       []string
	}{
		{"empty", "", []string{}},
		{"only comments", "# nothing\n---\n# here\n", []string{}},
		{"not YAML", "kind: Trench\n  name: [\n", []string{
			`f.yaml:2: not valid YAML: mapping values are not allowed in this context`,
		}},
		{"binary", "\x00\x01", []string{`f.yaml:1: not valid YAML: control characters are not allowed`}},
		{"a list", "- a\n- b\n", []string{
			`f.yaml:1: a document must be a mapping with apiVersion, kind, metadata and spec, not a list`,
		}},
		{"a word", "hello\n", []string{
			`f.yaml:1: a document must be a mapping with apiVersion, kind, metadata and spec, not the string "hello"`,
		}},
		{"no apiVersion", "kind: Trench\nmetadata: {name: a}\n", []string{
			`f.yaml:1: Trench a: apiVersion: a missing or empty value is not known; use weft.dev/v1alpha1 (or meridio.nordix.org/v1 or meridio.nordix.org/v1alpha1)`,
		}},
		{"unknown version", "kind: Trench\nmetadata: {name: a}\napiVersion: weft.dev/v2\n", []string{
			`f.yaml:3: Trench a: apiVersion: "weft.dev/v2" is not known; use weft.dev/v1alpha1 (or meridio.nordix.org/v1 or meridio.nordix.org/v1alpha1)`,
		}},
		{"unknown kind", "apiVersion: weft.dev/v1alpha1\nkind: Strem\nmetadata: {name: a, namespace: n}\n", []string{
			`f.yaml:2: Strem n/a: kind: "Strem" is not known; the kinds are Trench, Conduit, Stream, Vip, Flow, Gateway, Attractor; did you mean "Stream"?`,
		}},
		{"attachment", "apiVersion: weft.dev/v1alpha1\nkind: Attachment\nmetadata: {name: a}\n", []string{
			`f.yaml:2: Attachment a: kind: an Attachment cannot be applied; "weft attachment add" makes one`,
		}},
		{"unknown and duplicate fields", trench + `apiVersion: weft.dev/v1alpha1
kind: Conduit
metadata:
  name: lb
  label: {trench: a}
  labels:
    trench: a
    trench: b
spec:
  typ: stateless-lb
  type: stateless-lb
  type: stateless-lb
extra: 1
`, []string{
			`f.yaml:9: Conduit lb: metadata.label: unknown field; did you mean "labels"?`,
			`f.yaml:12: Conduit lb: metadata.labels.trench: the key is there twice, first in line 11`,
			`f.yaml:14: Conduit lb: spec.typ: unknown field; did you mean "type"?`,
			`f.yaml:16: Conduit lb: spec.type: the key is there twice, first in line 15`,
			`f.yaml:17: Conduit lb: extra: unknown field`,
		}},
		{"wrong types", trench + `apiVersion: weft.dev/v1alpha1
kind: Conduit
metadata: {name: 7, labels: {trench: a, x: true}}
spec:
  destination-port-nats:
  - port: "80"
    target-port: 70000
    vips: v1
    protocol: [tcp]
  - null
  - {port: 1.5, target-port: -1, vips: [[]], protocol: {}}
`, []string{
			`f.yaml:7: Conduit 7: metadata.name: must be a string, not the number 7; write "7"`,
			`f.yaml:7: Conduit 7: metadata.labels.x: must be a string, not the boolean true; write "true"`,
			`f.yaml:10: Conduit 7: spec.destination-port-nats[0].port: must be a whole number, not the string "80"`,
			`f.yaml:11: Conduit 7: spec.destination-port-nats[0].target-port: must be between 0 and 65535, not 70000`,
			`f.yaml:12: Conduit 7: spec.destination-port-nats[0].vips: must be a list, not the string "v1"`,
			`f.yaml:13: Conduit 7: spec.destination-port-nats[0].protocol: must be a string, not a list`,
			`f.yaml:14: Conduit 7: spec.destination-port-nats[1]: must not be empty`,
			`f.yaml:15: Conduit 7: spec.destination-port-nats[2].port: must be a whole number, not the number 1.5`,
			`f.yaml:15: Conduit 7: spec.destination-port-nats[2].target-port: must be between 0 and 65535, not -1`,
			`f.yaml:15: Conduit 7: spec.destination-port-nats[2].vips[0]: must be a string, not a list`,
			`f.yaml:15: Conduit 7: spec.destination-port-nats[2].protocol: must be a string, not a mapping`,
		}},
		{"wrong shapes", "apiVersion: weft.dev/v1alpha1\nkind: Trench\nmetadata: x\nspec: [1]\n", []string{
			`f.yaml:3: Trench (no name): metadata: must be a mapping, not the string "x"`,
			`f.yaml:4: Trench (no name): spec: must be a mapping, not a list`,
		}},
		{"merge keys and odd keys", "apiVersion: weft.dev/v1alpha1\nkind: Trench\nmetadata:\n  name: a\n  <<: {namespace: b}\n  ? [x]\n  : y\n", []string{
			`f.yaml:5: Trench a: metadata: merge keys (<<) are not supported; write the fields out`,
			`f.yaml:6: Trench a: metadata: a key must be a string, not a list`,
		}},
		{"drafts of v1alpha1", strings.ReplaceAll(trench, "weft.dev", "meridio.nordix.org") + `apiVersion: meridio.nordix.org/v1alpha1
kind: Gateway
metadata: {name: g, labels: {trench: a}}
spec: {address: 1.2.3.4, bfd: true, bgp: {local-asn: 1, remote-asn: 2}}
`, []string{
			`f.yaml:8: Gateway g: spec.bfd: this field was only in early drafts of meridio.nordix.org/v1alpha1; write spec.bgp.bfd.switch or spec.static.bfd.switch`,
		}},
		{"companions", "apiVersion: v1\nkind: Namespace\nmetadata: {name: red}\n", []string{
			`f.yaml:1: warning: Namespace red: skipped: namespaces need no object here`,
		}},
		{"list of lists", "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: List}\n---\napiVersion: v1\nkind: List\nitems: 3\n", []string{
			`f.yaml:4: List (no name): items: a List must not stand in a List`,
			`f.yaml:6: List (no name): items: must be a list of objects`,
		}},
		{"a syntax error keeps what came before", "apiVersion: weft.dev/v1alpha1\nkind: Trench\nmetadata: {name: a}\nspec: {ip-family: ipv5}\n---\n[", []string{
			`f.yaml:4: Trench a: spec.ip-family: "ipv5" is not allowed; use ipv4, ipv6, dualstack`,
			`f.yaml:6: not valid YAML: did not find expected node content`,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := loadProblems(t, File{Name: "f.yaml", Data: []byte(tt.yaml)})
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// An alias bomb is refused in time proportional to the budget.
func TestDecodeAliasBomb(t *testing.T) {
	var b strings.Builder
	b.WriteString("apiVersion: weft.dev/v1alpha1\nkind: Conduit\nmetadata: {name: lb, labels: {trench: a}}\nspec:\n  destination-port-nats:\n")
	b.WriteString("  - &x {port: 1, target-port: 2, protocol: tcp, vips: [" + strings.Repeat("v,", 5000) + "]}\n")
	b.WriteString(strings.Repeat("  - *x\n", 5000))
	_, problems := Decode([]File{{Name: "f.yaml", Data: []byte(b.String())}})
	want := "f.yaml:6: the file has more than 500000 nodes once its aliases are followed"
	if len(problems) != 1 || problems[0].String() != want {
		t.Errorf("problems = %.300v, want %s", problems, want)
	}
}

func TestDecodeTooLarge(t *testing.T) {
	_, problems := Decode([]File{{Name: "f.yaml", Data: make([]byte, maxFileSize+1)}})
	if want := "f.yaml:1: the file is larger than 3145728 bytes"; problems.Error() != want {
		t.Errorf("problems = %v, want %s", problems, want)
	}
}

func TestMeridioManifestsLoad(t *testing.T) {
	tests := []struct {
		file     string
		objects  int
		warnings []string
	}{
		{"v1alpha1.yaml", 10, []string{
			`v1alpha1.yaml:105: warning: Conduit tenants/blue-lb: spec.replicas: ignored: the number of frontends is the attractor's spec.replicas`,
		}},
		{"v1.yaml", 10, []string{
			`v1.yaml:6: warning: NetworkAttachmentDefinition tenants/red-nad: skipped: it belongs to Multus`,
			`v1.yaml:64: warning: Attractor tenants/red-other: spec.interface.ipv6-prefix: has no effect: the trench is ipv4`,
			`v1.yaml:155: warning: Flow tenants/red-flow: spec.source-subnets[1]: 0:0:0:0:0:0:0:0/0 matches nothing: trench "red" is ipv4`,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.file, func(t *testing.T) {
			f := readFile(t, filepath.Join("testdata", "meridio", tt.file))
			docs, _ := Decode([]File{f})
			if len(docs) != tt.objects {
				t.Errorf("%d objects, want %d", len(docs), tt.objects)
			}
			for _, d := range docs {
				if v := d.Object.GetType().APIVersion; v != v1alpha1.APIVersion {
					t.Errorf("%s has apiVersion %s", d.Key(), v)
				}
			}
			if diff := cmp.Diff(tt.warnings, loadProblems(t, f)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecodeValues(t *testing.T) {
	f := readFile(t, "testdata/meridio/v1alpha1.yaml")
	docs, _ := Decode([]File{f})
	Check(docs)
	var got *v1alpha1.Gateway
	for _, d := range docs {
		if d.Key().Name == "blue-gw4" {
			got = d.Object.(*v1alpha1.Gateway)
		}
	}
	want := &v1alpha1.Gateway{
		TypeMeta: v1alpha1.TypeMeta{APIVersion: v1alpha1.APIVersion, Kind: v1alpha1.KindGateway},
		Metadata: v1alpha1.ObjectMeta{Name: "blue-gw4", Namespace: "tenants", Labels: map[string]string{"trench": "blue"}},
		Spec: v1alpha1.GatewaySpec{
			Address: "169.254.100.150", Protocol: "bgp",
			BGP: &v1alpha1.BGP{
				LocalASN: ptr[uint32](8103), RemoteASN: ptr[uint32](4248829953), HoldTime: "24s",
				LocalPort: ptr[uint16](10179), RemotePort: ptr[uint16](10179),
				BFD:  &v1alpha1.BFD{Switch: ptr(true), MinTx: "300ms", MinRx: "300ms", Multiplier: ptr[uint16](5)},
				Auth: &v1alpha1.BGPAuth{KeyName: "blue.key", KeySource: "Blue-Secret"},
			},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("gateway (-want +got):\n%s", diff)
	}
}

func ptr[T any](v T) *T { return &v }

// The decoder must neither panic nor take long, and what it accepts without a
// problem must be accepted again after a round trip.
func FuzzDecode(f *testing.F) {
	for _, path := range []string{"testdata/meridio/v1.yaml", "testdata/meridio/v1alpha1.yaml", "../../deployments/examples/demo.yaml"} {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		for _, doc := range strings.Split(string(data), "---\n") {
			f.Add([]byte(doc))
		}
	}
	f.Add([]byte("&a [*a]"))
	f.Add([]byte("apiVersion: weft.dev/v1alpha1\nkind: Trench\nmetadata: &m {name: *m}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		files := []File{{Name: "f", Data: data}}
		docs, problems := Decode(files)
		problems = append(problems, Check(docs)...)
		problems.sortByPlace(files)
		for _, p := range problems {
			if p.Reason == "" || (p.File != "" && p.Line < 1) {
				t.Errorf("problem without reason or line: %+v", p)
			}
		}
		if len(problems.Errors()) > 0 {
			return
		}
		again, problems := Decode([]File{{Name: "g", Data: encodeAll(t, docs)}})
		if problems = append(problems, Check(again)...); len(problems.Errors()) > 0 {
			t.Errorf("what was accepted is refused after a round trip: %v", problems)
		}
		if len(again) != len(docs) {
			t.Errorf("%d objects became %d", len(docs), len(again))
		}
	})
}
