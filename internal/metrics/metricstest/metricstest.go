// SPDX-License-Identifier: Apache-2.0

package metricstest

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Metric is one row of the documentation.
type Metric struct {
	Name, Type, Help string
	Labels           []string // sorted
}

var row = regexp.MustCompile("^\\| `(weft_[a-z_]+)` \\| (counter|gauge) \\| ([^|]*) \\| ([^|]*) \\|$")

// Rows returns the documented metrics by name.
func Rows(t testing.TB) map[string]Metric {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root(t), "docs", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]Metric{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		m := row.FindStringSubmatch(line)
		if m == nil {
			if strings.HasPrefix(line, "| `") {
				t.Errorf("docs/metrics.md: not a row of a metric: %s", line)
			}
			continue
		}
		if _, twice := rows[m[1]]; twice {
			t.Errorf("docs/metrics.md: %s is documented twice", m[1])
		}
		rows[m[1]] = Metric{Name: m[1], Type: m[2], Labels: split(strings.ReplaceAll(m[3], "`", "")), Help: m[4]}
	}
	return rows
}

// root is the directory of go.mod.
func root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod in any directory above")
		}
		dir = filepath.Dir(dir)
	}
}

func split(list string) []string {
	labels := strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
	slices.Sort(labels)
	return labels
}

var described = regexp.MustCompile(`^Desc\{fqName: "([^"]*)", help: "([^"]*)", constLabels: \{[^}]*\}, variableLabels: \{([^}]*)\}`)

// Documented checks that the collectors together describe exactly the documented
// metrics with the prefix.
func Documented(t testing.TB, prefix string, collectors ...prometheus.Collector) {
	t.Helper()
	rows := Rows(t)
	descs := make(chan *prometheus.Desc)
	go func() {
		defer close(descs)
		for _, c := range collectors {
			c.Describe(descs)
		}
	}()
	seen := map[string]bool{}
	for desc := range descs {
		m := described.FindStringSubmatch(desc.String())
		if m == nil {
			t.Errorf("%s: not understood", desc)
			continue
		}
		seen[m[1]] = true
		compare(t, rows, Metric{Name: m[1], Type: typeOf(m[1]), Help: m[2], Labels: split(m[3])})
		if !strings.HasPrefix(m[1], prefix) {
			t.Errorf("%s does not begin with %s", m[1], prefix)
		}
	}
	for name := range rows {
		if strings.HasPrefix(name, prefix) && !seen[name] {
			t.Errorf("docs/metrics.md: %s is not there any more", name)
		}
	}
}

// Gathered checks that all metrics of a registry are documented as what they
// are. Labels of the common ones are those that a registerer has added.
func Gathered(t testing.TB, registry prometheus.Gatherer, common ...string) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	rows := Rows(t)
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "go_") || strings.HasPrefix(f.GetName(), "process_") {
			continue // the Go client's own
		}
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			if !slices.Contains(common, l.GetName()) {
				labels = append(labels, l.GetName())
			}
		}
		slices.Sort(labels)
		kind := map[dto.MetricType]string{dto.MetricType_COUNTER: "counter", dto.MetricType_GAUGE: "gauge"}[f.GetType()]
		compare(t, rows, Metric{Name: f.GetName(), Type: kind, Help: f.GetHelp(), Labels: labels})
	}
}

// typeOf is the type of a metric by its name: counters end in _total.
func typeOf(name string) string {
	if strings.HasSuffix(name, "_total") {
		return "counter"
	}
	return "gauge"
}

func compare(t testing.TB, rows map[string]Metric, got Metric) {
	t.Helper()
	want, ok := rows[got.Name]
	switch {
	case !ok:
		t.Errorf("docs/metrics.md lacks %s: | `%s` | %s | `%s` | %s |", got.Name, got.Name, got.Type, strings.Join(got.Labels, "`, `"), got.Help)
	case got.Type != want.Type || got.Help != want.Help || !slices.Equal(got.Labels, want.Labels):
		t.Errorf("docs/metrics.md has %+v, the collector %+v", want, got)
	case typeOf(got.Name) != got.Type:
		t.Errorf("%s is a %s: only counters, and all of them, end in _total", got.Name, got.Type)
	}
}
