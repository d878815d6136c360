// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/weft-project/weft/pkg/dataplane/lb"
)

var update = flag.Bool("update", false, "write the table of reasons in the documentation")

// Every reason of the data plane is explained, and as what it is.
func TestEveryReasonIsExplained(t *testing.T) {
	for _, r := range planeReasons() {
		e := Describe(r.String())
		if e.Action == 0 || e.Meaning == "" || e.Advice == "" {
			t.Errorf("%s is not explained", r)
		}
		if (e.Action == Dropped) != r.Drop() {
			t.Errorf("%s: drop is %v, the explanation says otherwise", r, r.Drop())
		}
	}
	if len(planeReasons()) < 20 {
		t.Errorf("only %d reasons", len(planeReasons()))
	}
	if e := Describe("nonsense"); e.Action != 0 || !strings.Contains(e.Meaning, "does not know") {
		t.Errorf("nonsense: %+v", e)
	}
}

const (
	troubleshooting = "../../docs/troubleshooting.md"
	tableBegin      = "<!-- reasons: written by go test ./internal/inspect -update -->\n"
	tableEnd        = "<!-- end of reasons -->\n"
)

// The documentation has the same words.
func TestReasonsAreDocumented(t *testing.T) {
	text, err := os.ReadFile(troubleshooting)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), tableBegin)
	got, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no table of reasons", troubleshooting)
	}
	action := map[Action]string{Sent: "sent", Deferred: "to the slow path", Passed: "left to the stack", Dropped: "**dropped**"}
	var want strings.Builder
	want.WriteString("| Reason | What becomes of the packet | What it means | What to do |\n| --- | --- | --- | --- |\n")
	for _, r := range explained {
		fmt.Fprintf(&want, "| `%s` | %s | %s | %s |\n", r.Name, action[r.Action], r.Meaning, r.Advice)
	}
	if *update {
		if err := os.WriteFile(troubleshooting, []byte(before+tableBegin+want.String()+tableEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if got != want.String() {
		t.Errorf("the table of %s is not of today; write it with -update", troubleshooting)
	}
	for _, r := range planeReasons() {
		if !strings.Contains(want.String(), fmt.Sprintf("| `%s` |", r)) {
			t.Errorf("%s is not documented", r)
		}
	}
}

func TestParseReasons(t *testing.T) {
	got, err := ParseReasons([]string{"forwarded", "drop", "no_flow"})
	if err != nil || !slices.Contains(got, lb.Forwarded) || !slices.Contains(got, lb.DropInternal) || slices.Contains(got, lb.PassARP) {
		t.Errorf("%v, %v", got, err)
	}
	for _, r := range got {
		if r != lb.Forwarded && !r.Drop() {
			t.Errorf("%s is not what was asked for", r)
		}
	}
	if got, err := ParseReasons(nil); got != nil || err != nil {
		t.Errorf("none: %v, %v", got, err)
	}
	if _, err := ParseReasons([]string{"forwarded", "lost"}); err == nil || !strings.Contains(err.Error(), `reasons[1]: there is no reason "lost"`) {
		t.Errorf("got %v", err)
	}
}

func TestNamesOfFields(t *testing.T) {
	for name, want := range map[string]uint8{"tcp": 6, "UDP": 17, "sctp": 132, "icmpv6": 58, "47": 47} {
		if got, err := ParseProtocol(name); err != nil || got != want {
			t.Errorf("%s: %d, %v", name, got, err)
		}
	}
	for _, name := range []string{"", "0", "256", "gre", "-1"} {
		if _, err := ParseProtocol(name); err == nil {
			t.Errorf("%q is accepted", name)
		}
	}
	if got, err := ParseFlags("syn,ACK+fin"); err != nil || got != 0x13 {
		t.Errorf("flags %#x, %v", got, err)
	}
	if _, err := ParseFlags("syn,nack"); err == nil || !strings.Contains(err.Error(), `"nack"`) {
		t.Errorf("got %v", err)
	}
}
