// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/pkg/apis/v1alpha1"
)

func TestAmbiguousFlows(t *testing.T) {
	two := func(a, b string) string {
		return strings.Join([]string{
			manifest("Vip", "range", "address: 40.0.0.0/28"), manifest("Vip", "inner", "address: 40.0.0.1/32"),
			manifest("Flow", "a", "protocols: [tcp, udp]\npriority: 2147483647\n"+a),
			manifest("Flow", "b", "protocols: [tcp]\npriority: 2147483647\n"+b),
		}, "---\n")
	}
	collide := func(what string) []string {
		return []string{`f:LINE: warning: Flow b: spec.priority: flow "a" has priority 2147483647 too, matches common traffic of vip "inner" and ` + what + `; the name that sorts first wins`}
	}
	toAPI := func() []string { return collide(`leads to stream "api"`) }
	const a, b = "stream: api\nvips: [range]\n", "stream: web\nvips: [inner]\n"
	for _, tt := range []struct {
		name, yaml string
		want       []string
	}{
		{"nested vips", two(a, b), toAPI()},
		{"one stream", two(a, strings.Replace(b, "web", "api", 1)), []string{}},
		{"one stream, another target port",
			two(a+"target-port: 8080\ndestination-ports: ['80']", strings.Replace(b, "web", "api", 1)+"destination-ports: [70-90]"),
			collide("has target-port 8080")},
		{"one stream, a target port in one",
			two(a, strings.Replace(b, "web", "api", 1)+"target-port: 8080\ndestination-ports: ['80']"),
			append(collide("has no target-port"),
				`f:30: warning: Flow b: spec.target-port: flow "a" matches target-port 8080 (tcp) of vip "inner" directly; replies from there would be translated to port 80, too`)},
		{"byte matches of one", two(a+"byte-matches: ['tcp[0:1] = 1']", b), toAPI()},
		{"byte matches that agree", two(a+"byte-matches: ['tcp[20:4] & 0xff00 = 0x1200']", b+"byte-matches: ['tcp[22:1] = 0x12', 'tcp[21:1] = 7']"), toAPI()},
		{"byte matches of other bits", two(a+"byte-matches: ['tcp[13:1] & 0x02 = 0x02']", b+"byte-matches: ['tcp[13:1] & 0x10 = 0']"), toAPI()},
		{"byte matches that differ in a bit", two(a+"byte-matches: ['tcp[13:1] & 0x12 = 0x02']", b+"byte-matches: ['tcp[12:2] & 0x10 = 0x10']"), []string{}},
		{"byte matches of another protocol", two(a+"byte-matches: ['udp[8:1] = 1']", b+"byte-matches: ['tcp[8:1] = 2']"), toAPI()},
		{"byte matches that nothing satisfies", two(a, b+"byte-matches: ['tcp[0:2] = 0x0102', 'tcp[1:1] = 3']"), []string{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			line := 1 + strings.Count(tt.yaml[:strings.LastIndex(tt.yaml, "priority:")], "\n") // of flow b
			for i := range tt.want {
				tt.want[i] = strings.Replace(tt.want[i], "LINE", strconv.Itoa(line), 1)
			}
			checkProblems(t, tt.yaml, tt.want)
		})
	}
}

// TestPairs: whatever field the pairs are sought by, all that overlap are among
// them, each flow with others only.
func TestPairs(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	ports := func() (out []classify.PortRange) {
		for range r.IntN(3) {
			first := uint16(r.IntN(1000))
			out = append(out, classify.PortRange{First: first, Last: first + uint16(r.IntN(30))})
		}
		return out
	}
	prefixes := func(n int) (out []netip.Prefix) {
		for range n {
			addr := netip.AddrFrom4([4]byte{20, 0, byte(r.IntN(4)), byte(r.IntN(256))})
			if r.IntN(2) == 0 {
				addr = netip.AddrFrom16([16]byte{0: 0x20, 15: byte(r.IntN(256))})
			}
			p, _ := addr.Prefix(addr.BitLen() - r.IntN(4))
			out = append(out, p)
		}
		return out
	}
	for range 100 {
		flows := make([]*flowMatch, smallGroup+r.IntN(20))
		for i := range flows {
			m := &flowMatch{src: ports(), dst: ports(), subnets: prefixes(r.IntN(3)), protocols: []string{v1alpha1.TCP}}
			for _, p := range prefixes(1 + r.IntN(2)) {
				m.vips = append(m.vips, namedVIP{p.String(), p})
			}
			flows[i] = m
		}
		seen := map[[2]int]bool{}
		if !pairs(flows, func(a, b int) bool {
			if a == b {
				t.Fatalf("flow %d is compared with itself", a)
			}
			seen[[2]int{min(a, b), max(a, b)}] = true
			return true
		}) {
			t.Fatal("stopped by itself")
		}
		for b := range flows {
			for a := range b {
				if flows[a].overlaps(flows[b]) && !seen[[2]int{a, b}] {
					t.Fatalf("%+v and %+v are not compared", flows[a], flows[b])
				}
			}
		}
	}
}

// manyFlows are flows of one priority that lead to two streams in turn.
func manyFlows(n int, spec func(i int) string) string {
	var yaml strings.Builder
	for i := range n {
		stream := [...]string{"web", "api"}[i%2]
		yaml.WriteString("---\n" + manifest("Flow", fmt.Sprint("f", i), "stream: "+stream+"\nvips: [v4, v6]\nprotocols: [tcp]\npriority: 7\n"+spec(i)))
	}
	return yaml.String()
}

// TestManyFlowsOfOnePriority: 2,000 flows that differ in one field are compared
// completely; as many that differ in none are not, and it is said.
func TestManyFlowsOfOnePriority(t *testing.T) {
	const n = 2000
	for name, spec := range map[string]func(i int) string{
		"destination ports": func(i int) string { return fmt.Sprintf("destination-ports: ['%d']", 1+i) },
		"source ports":      func(i int) string { return fmt.Sprintf("source-ports: ['%d']\ndestination-ports: [any]", 1+i) },
		"source subnets":    func(i int) string { return fmt.Sprintf("source-subnets: [10.%d.%d.0/24]", i/256, i%256) },
	} {
		t.Run(name, func(t *testing.T) {
			same := n - 1 // the one that is like it is the one before, of the other stream
			yaml := manyFlows(n, func(i int) string { return spec(min(i, same-1)) })
			checkProblems(t, yaml, []string{fmt.Sprintf(
				`f:%d: warning: Flow f%d: spec.priority: flow "f%d" has priority 7 too, matches common traffic of vip "v4" and leads to stream "web"; the name that sorts first wins`,
				strings.Count(yaml[:strings.Index(yaml, fmt.Sprintf("name: f%d,", same))], "\n")+6, same, same-1)})
		})
	}
	t.Run("none", func(t *testing.T) {
		got := loadProblems(t, File{"base", []byte(base)}, File{"f", []byte(manyFlows(n, func(int) string { return "destination-ports: ['1']" }))})
		if len(got) > n || !strings.Contains(strings.Join(got, "\n"),
			fmt.Sprintf("Flow f%d: spec.priority: too many flows of priority 7 match common ports, vips and subnets to compare them all", n-1)) {
			t.Errorf("%d problems", len(got))
		}
	})
}
