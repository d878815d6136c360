// SPDX-License-Identifier: Apache-2.0

package ingress_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/pkg/dataplane/ingress"
)

// counter is a program that counts what it sees.
type counter struct {
	*ebpf.Program
	m *ebpf.Map
}

func newCounter(t *testing.T) counter {
	t.Helper()
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	check(t, err)
	t.Cleanup(func() { _ = m.Close() })
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "counter", Type: ebpf.SchedCLS, License: "GPL",
		Instructions: asm.Instructions{
			asm.LoadMapValue(asm.R1, m.FD(), 0),
			asm.Mov.Imm(asm.R2, 1),
			asm.StoreXAdd(asm.R1, asm.R2, asm.DWord),
			asm.Mov.Imm(asm.R0, -1),
			asm.Return(),
		},
	})
	check(t, err)
	t.Cleanup(func() { _ = p.Close() })
	return counter{p, m}
}

func (c counter) value(t *testing.T) uint64 {
	t.Helper()
	var n uint64
	check(t, c.m.Lookup(uint32(0), &n))
	return n
}

// world is interfaces in ns with peers that send.
type world struct {
	ns, peers string
	h         *nl.Handle
	indices   []int
}

func newWorld(t *testing.T, n int) *world {
	t.Helper()
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	w := &world{ns: testutil.NetNS(t), peers: testutil.NetNS(t)}
	w.h = testutil.Handle(t, w.ns)
	p := testutil.Handle(t, w.peers)
	for i := range n {
		name := fmt.Sprintf("v%d", i)
		link, peer, err := w.h.AddVeth(nl.Veth{Name: name, PeerName: name, PeerNetNS: w.peers, PeerUp: true})
		check(t, err)
		check(t, w.h.SetUp(link.Index))
		check(t, p.AddAddress(peer.Index, netip.PrefixFrom(w.peer(i).Prev(), 24)))
		check(t, p.AddNeighbour(peer.Index, w.peer(i), link.MAC))
		w.indices = append(w.indices, link.Index)
	}
	return w
}

// peer is the address that the peers have for an interface.
func (w *world) peer(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i), 2}) }

// sees sends to an interface until the program has seen something.
func (w *world) sees(t *testing.T, c counter, i int) {
	t.Helper()
	conn, err := testutil.Dial(t.Context(), w.peers, "udp", "", netip.AddrPortFrom(w.peer(i), 9).String())
	check(t, err)
	defer func() { _ = conn.Close() }()
	before := c.value(t)
	testutil.Eventually(t, 5*time.Second, "a packet", func() bool {
		_, err := conn.Write([]byte("?"))
		check(t, err)
		return c.value(t) > before
	})
}

func (w *world) open(t *testing.T, id uint32, c counter) *ingress.Block {
	t.Helper()
	b, err := ingress.Open(w.ns, id, c.Program)
	check(t, err)
	t.Cleanup(func() { check(t, b.Close(false)) })
	return b
}

// blocks returns the block of each interface, 0 for none.
func (w *world) blocks(t *testing.T) []uint32 {
	t.Helper()
	var ids []uint32
	for _, index := range w.indices {
		id, err := w.h.IngressBlock(index)
		check(t, err)
		ids = append(ids, id)
	}
	return ids
}

func (w *world) wantBlocks(t *testing.T, want ...bool) {
	t.Helper()
	for i, id := range w.blocks(t) {
		if (id != 0) != want[i] {
			t.Errorf("interface %d has block %d", i, id)
		}
	}
}

func TestJoinReplaceLeave(t *testing.T) {
	w := newWorld(t, 3)
	first, second := newCounter(t), newCounter(t)
	b := w.open(t, 0, first)
	for i := range 2 {
		check(t, b.Join(w.indices[i]), b.Join(w.indices[i]))
		w.sees(t, first, i)
	}
	check(t, b.Replace(second.Program))
	check(t, b.Join(w.indices[2]))
	for i := range w.indices {
		w.sees(t, second, i)
	}
	check(t, b.Leave(w.indices[0]), b.Leave(w.indices[0]))
	w.wantBlocks(t, false, true, true)
	w.sees(t, second, 1)
	check(t, b.Close(false), b.Close(false), b.Leave(w.indices[1]))
	w.wantBlocks(t, false, false, false)
	if b.Join(w.indices[0]) == nil || b.Replace(first.Program) == nil {
		t.Error("a closed block takes changes")
	}
}

// The kernel drops a block with its last interface; it comes back with the
// next, and with the program that it has been given meanwhile.
func TestEmptyBlock(t *testing.T) {
	w := newWorld(t, 3)
	first, second, third := newCounter(t), newCounter(t), newCounter(t)
	b := w.open(t, 0, first)
	check(t, b.Replace(second.Program)) // before the first interface
	check(t, b.Join(w.indices[0]))
	w.sees(t, second, 0)
	check(t, b.Leave(w.indices[0]), b.Join(w.indices[1]))
	w.sees(t, second, 1)
	check(t, w.h.DeleteLink(w.indices[1])) // the last one, unnoticed
	check(t, b.Replace(third.Program))
	check(t, b.Join(w.indices[2]))
	w.sees(t, third, 2)
	check(t, b.Leave(w.indices[1]))
}

func TestJoinRefuses(t *testing.T) {
	w := newWorld(t, 1)
	mine, other := w.open(t, 0, newCounter(t)), w.open(t, 0, newCounter(t))
	check(t, other.Join(w.indices[0]))
	if err := mine.Join(w.indices[0]); !errors.Is(err, nl.ErrExists) {
		t.Errorf("another one's interface: %v, want ErrExists", err)
	}
	check(t, mine.Leave(w.indices[0]))
	w.wantBlocks(t, true)
	check(t, other.Leave(w.indices[0]), mine.Join(w.indices[0]))
	if err := mine.Join(4711); !errors.Is(err, nl.ErrNotFound) {
		t.Errorf("missing interface: %v, want ErrNotFound", err)
	}
}

// A program that does not fit is refused, and the one of before stays.
func TestReplaceRefuses(t *testing.T) {
	w := newWorld(t, 1)
	c := newCounter(t)
	b := w.open(t, 0, c)
	check(t, b.Join(w.indices[0]))
	xdp, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()},
	})
	check(t, err)
	t.Cleanup(func() { _ = xdp.Close() })
	if b.Replace(xdp) == nil {
		t.Error("an XDP program was taken")
	}
	w.sees(t, c, 0)
	check(t, b.Leave(w.indices[0]), b.Join(w.indices[0]))
	w.sees(t, c, 0)
}

func TestAdopt(t *testing.T) {
	w := newWorld(t, 3)
	const id = 87
	first, second := newCounter(t), newCounter(t)
	before := w.open(t, id, first)
	check(t, before.Join(w.indices[0]), before.Join(w.indices[1]))
	check(t, before.Close(true))
	w.sees(t, first, 0)

	after := w.open(t, id, second)
	check(t, after.Adopt([]int{w.indices[0], w.indices[1], w.indices[2], 4711}))
	for i := range 2 {
		w.sees(t, second, i)
	}
	w.wantBlocks(t, true, true, false)
	check(t, after.Close(false))
	w.wantBlocks(t, false, false, false)
}

// A successor prepares beside a program that works on, until it takes over.
func TestTakeOver(t *testing.T) {
	w := newWorld(t, 3)
	id := ingress.ID(t.Name())
	first, second, third := newCounter(t), newCounter(t), newCounter(t)
	before := w.open(t, id, first)
	check(t, before.Join(w.indices[0]), before.Join(w.indices[1]), before.Close(true))
	after, err := ingress.OpenBehind(w.ns, id, second.Program)
	check(t, err)
	check(t, after.Join(w.indices[1]), after.Join(w.indices[2]), after.Replace(third.Program))
	for i := range 3 {
		w.sees(t, first, i)
	}
	joined, err := ingress.Members(w.ns, id)
	check(t, err)
	if !slices.Equal(joined, slices.Sorted(slices.Values(w.indices))) {
		t.Errorf("members %v, want %v", joined, w.indices)
	}
	check(t, after.TakeOver(), after.TakeOver())
	for i := range 3 {
		w.sees(t, third, i)
	}
	check(t, after.Close(false))
	w.wantBlocks(t, false, false, false)
	if after.TakeOver() == nil {
		t.Error("a closed block takes over")
	}

	// With nobody to be behind, the program works at once.
	alone, err := ingress.OpenBehind(w.ns, id, second.Program)
	check(t, err)
	check(t, alone.Join(w.indices[0]))
	w.sees(t, second, 0)
	check(t, alone.Close(true), ingress.Dissolve(w.ns, id+1))
	w.wantBlocks(t, true, false, false)
	check(t, ingress.Dissolve(w.ns, id), ingress.Dissolve(w.ns, id))
	w.wantBlocks(t, false, false, false)
}

func TestOpenRefuses(t *testing.T) {
	testutil.Require(t, "netns")
	if _, err := ingress.Open("/run/netns/missing", 0, nil); err == nil {
		t.Error("opened without a namespace")
	}
}

func check(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}
