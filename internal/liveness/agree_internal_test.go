// SPDX-License-Identifier: Apache-2.0

package liveness

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// end is the model of one side: what its user has said last.
type end struct {
	*node
	carrier map[uint32]bool // of the joined tunnels
}

// TestSidesAgree lets anything happen in any order. When it has calmed down, each
// side sees what the other's user has said, and was called for it.
func TestSidesAgree(t *testing.T) {
	runs := 150
	if testing.Short() {
		runs = 20
	}
	for range runs {
		simulate(t, func(t *testing.T, n *network, a, b *node) {
			w := &world{
				T: t, net: n, random: rand.New(rand.NewPCG(n.seed, 1)),
				ends: [2]*end{{node: a, carrier: map[uint32]bool{}}, {node: b, carrier: map[uint32]bool{}}},
			}
			for range 60 {
				w.step()
			}
			w.calm()
			w.check()
			if t.Failed() {
				for _, what := range w.history {
					t.Log(what)
				}
			}
		})
		if t.Failed() {
			return
		}
	}
}

type world struct {
	*testing.T
	net     *network
	random  *rand.Rand
	ends    [2]*end
	history []string
}

func (w *world) note(format string, args ...any) {
	w.history = append(w.history, fmt.Sprintf(time.Now().Format("15:04:05.000 ")+format, args...))
}

func (w *world) chance(percent int) bool { return w.random.IntN(100) < percent }

// pick returns a side and the other one.
func (w *world) pick() (x, other *end) {
	i := w.random.IntN(2)
	return w.ends[i], w.ends[1-i]
}

// step does one thing and waits a little, or not.
func (w *world) step() {
	x, other := w.pick()
	vni := w.random.Uint32N(4)
	_, joined := x.carrier[vni]
	switch choice := w.random.IntN(100); {
	case choice < 50:
		switch {
		case x.process == nil:
			w.restart(x, other)
		case !joined:
			w.note("%s joins %d", x.address, vni)
			x.join(other.node, vni)
			w.setCarrier(x, other, vni, w.chance(50))
		case w.chance(10):
			w.note("%s leaves %d", x.address, vni)
			x.leave(other.node, vni)
			delete(x.carrier, vni)
		default:
			w.setCarrier(x, other, vni, !x.carrier[vni])
		}
	case choice < 60 && x.process != nil:
		w.note("%s dies", x.address)
		x.kill(w)
	case choice < 65:
		w.note("%s reboots", x.address)
		x.reboot(w)
		x.power(false)
		time.Sleep(time.Second) // no frame of before is under way any more
		x.power(true)
		x.carrier = map[uint32]bool{}
	case choice < 75:
		cut := w.chance(50)
		w.note("partition %v", cut)
		w.net.partition(x.node, other.node, cut)
	case choice < 85:
		w.note("impairment")
		w.net.impair(w.random.Float64()/2, w.random.Float64()/2, time.Duration(w.random.Int64N(int64(300*time.Millisecond))))
	case choice < 90:
		errno := []unix.Errno{0, unix.ENETUNREACH, unix.ENOBUFS}[w.random.IntN(3)]
		w.note("%s cannot send: %v", x.address, errno)
		x.refuseSends(errno)
	}
	switch {
	case w.chance(40):
		time.Sleep(time.Duration(w.random.Int64N(int64(10 * time.Millisecond))))
	case w.chance(30):
		time.Sleep(time.Duration(w.random.Int64N(int64(3 * time.Second))))
	}
}

func (w *world) setCarrier(x, other *end, vni uint32, up bool) {
	w.note("%s has carrier of %d: %v", x.address, vni, up)
	x.process.SetCarrier(x.tunnelTo(other.node, vni), up)
	x.carrier[vni] = up
}

// restart starts the process. It joins what it finds, in any order and not all at
// once.
func (w *world) restart(x, other *end) {
	w.note("%s starts", x.address)
	x.start(w)
	var found []uint32
	for vni := range x.carrier {
		found = append(found, vni)
	}
	slices.Sort(found)
	w.random.Shuffle(len(found), func(i, j int) { found[i], found[j] = found[j], found[i] })
	for _, vni := range found {
		x.join(other.node, vni)
		if w.chance(50) {
			time.Sleep(time.Duration(w.random.Int64N(int64(20 * time.Millisecond))))
		}
		w.setCarrier(x, other, vni, x.carrier[vni])
	}
}

// calm ends all trouble.
func (w *world) calm() {
	w.note("calm")
	w.net.impair(0, 0, 0)
	w.net.partition(w.ends[0].node, w.ends[1].node, false)
	for i, x := range w.ends {
		x.refuseSends(0)
		if x.process == nil {
			w.restart(x, w.ends[1-i])
		}
	}
	time.Sleep(5 * time.Second)
	synctest.Wait()
}

func (w *world) check() {
	for i, x := range w.ends {
		other := w.ends[1-i]
		for vni := range x.carrier {
			up, known := x.process.Carrier(x.tunnelTo(other.node, vni))
			theirs, both := other.carrier[vni]
			if both && (!known || up != theirs) {
				w.Errorf("%s sees of %d up %v, known %v; the other side has said %v", x.address, vni, up, known, theirs)
			}
			if told := x.told[vni]; told != (view{up, known}) {
				w.Errorf("%s was told %+v of %d, not up %v, known %v", x.address, told, vni, up, known)
			}
		}
	}
}
