// SPDX-License-Identifier: Apache-2.0

package trunk

import (
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/testutil/bpftest"
)

// slot is one measurement of one path: short, so that the paths that are compared
// see the same noise.
const slot = 50 * time.Millisecond

// BenchmarkTCP compares one TCP connection between frontends of two nodes, whose
// base interfaces are a veth pair, with one over a bare veth pair. The frontends'
// frames pass three pairs.
func BenchmarkTCP(b *testing.B) {
	testutil.Require(b, "bpf", "netns")
	left, right := wire(b)
	var names []string
	var measure []func() float64
	add := func(name string, from, to frontend) {
		names, measure = append(names, name), append(measure, tcpRate(b, from, to))
	}
	one, two := barePair(b)
	add("veth", one, two)
	add("untagged", left.frontend(0, 1), right.frontend(0, 3))
	add("tagged", left.frontend(100, 1), right.frontend(100, 3))
	rates, ratios := make([][]float64, len(names)), make([][]float64, len(names))
	for b.Loop() {
		for i := range measure {
			now := measure[i]()
			rates[i] = append(rates[i], now)
			ratios[i] = append(ratios[i], now/rates[0][len(rates[0])-1])
		}
	}
	b.ReportMetric(0, "ns/op")
	for i, name := range names {
		if i > 0 {
			b.ReportMetric(bpftest.Median(ratios[i]), name+"/"+names[0])
		}
	}
	for i, name := range names {
		b.ReportMetric(bpftest.Median(rates[i]), name+"-Gbit/s")
	}
}

// barePair is one veth pair between two namespaces: the floor.
func barePair(b *testing.B) (from, to frontend) {
	b.Helper()
	from, to = frontend{ns: testutil.NetNS(b)}, frontend{ns: testutil.NetNS(b), v4: "10.8.0.2"}
	near, far := testutil.Handle(b, from.ns), testutil.Handle(b, to.ns)
	x, y, err := near.AddVeth(nl.Veth{Name: "eth0", PeerName: "eth0", PeerNetNS: to.ns, PeerUp: true})
	must(b, err, near.SetUp(x.Index),
		near.AddAddress(x.Index, netip.MustParsePrefix("10.8.0.1/24")), far.AddAddress(y.Index, netip.MustParsePrefix("10.8.0.2/24")))
	return from, to
}

func tcpRate(b *testing.B, from, to frontend) func() float64 {
	b.Helper()
	l := testutil.Listen(b, to.ns, "tcp", to.v4+":0")
	var received atomic.Int64
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		buffer := make([]byte, 1<<18)
		for {
			n, err := c.Read(buffer)
			received.Add(int64(n))
			if err != nil {
				return
			}
		}
	}()
	c, err := testutil.Dial(b.Context(), from.ns, "tcp", "", l.Addr().String())
	must(b, err)
	b.Cleanup(func() { _ = c.Close() })
	buffer := make([]byte, 1<<18)
	return func() float64 {
		start, before := time.Now(), received.Load()
		for time.Since(start) < slot {
			if _, err := c.Write(buffer); err != nil {
				b.Fatal(err)
			}
		}
		return float64(received.Load()-before) * 8 / time.Since(start).Seconds() / 1e9
	}
}
