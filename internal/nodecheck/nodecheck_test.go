// SPDX-License-Identifier: Apache-2.0

package nodecheck_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-project/weft/internal/nodecheck"
)

type part func(repair bool) ([]nodecheck.Finding, error)

func (p part) Check(_ context.Context, repair bool) ([]nodecheck.Finding, error) { return p(repair) }

func TestAll(t *testing.T) {
	var order []string
	named := func(name string, err error) nodecheck.Part {
		return nodecheck.Part{Name: name, Checker: part(func(repair bool) ([]nodecheck.Finding, error) {
			order = append(order, name)
			return []nodecheck.Finding{{Kind: "k", Object: name + " 1", Repaired: repair}}, err
		})}
	}
	got := nodecheck.All(t.Context(), true, named("z", errors.New("no map")), named("a", nil))
	want := []nodecheck.Finding{
		{Kind: "k", Object: "a 1", Repaired: true},
		{Kind: nodecheck.KindUnchecked, Severity: nodecheck.Warning, Object: "z", Message: "z could not be checked: no map"},
		{Kind: "k", Object: "z 1", Repaired: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"z", "a"}, order); diff != "" {
		t.Error(diff)
	}
}
