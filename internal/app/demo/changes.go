// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-project/weft/internal/cluster"
	"github.com/weft-project/weft/internal/traffic"
)

const (
	udpFlows = 256
	udpRate  = 12000 // packets per second
	tcpConns = 50
)

// changeUnderTraffic is step 4; the traffic goes on after it.
func (d *demo) changeUnderTraffic(ctx context.Context, changes ...func(context.Context) error) error {
	d.step("Changes under steady traffic")
	if err := d.startTraffic(); err != nil {
		return err
	}
	d.say("%d UDP flows with %d numbered requests/s, %d TCP connections that talk all the time", udpFlows, udpRate, tcpConns)
	for _, change := range changes {
		if err := change(ctx); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) startTraffic() (err error) {
	dial := d.a.Dial()
	d.steady, err = traffic.StartSteady(traffic.SteadyConfig{To: destinations(webPort), Flows: udpFlows, Rate: udpRate, Dial: dial})
	if err != nil {
		return err
	}
	d.pool, err = traffic.StartPool(dial, destinations(webPort), tcpConns)
	return err
}

func (d *demo) stopTraffic() {
	if d.steady != nil {
		d.steady.Stop()
		d.steady = nil
	}
	if d.pool != nil {
		d.pool.Stop()
		d.pool = nil
	}
}

// begin opens the window of a change.
func (d *demo) begin() {
	d.poolBefore, d.changeMark = d.pool.Stats(), d.steady.Mark()
	d.changeMoment = time.Now()
}

// observe lets the traffic run on, then closes the window.
func (d *demo) observe(ctx context.Context) (traffic.Window, error) {
	timer := time.NewTimer(dwell)
	defer timer.Stop()
	select {
	case <-timer.C:
		return d.steady.Between(d.changeMark, d.steady.Mark()), nil
	case <-ctx.Done():
		return traffic.Window{}, ctx.Err()
	}
}

// summary prints the window's losses and checks what has to be zero.
func (d *demo) summary(w traffic.Window) {
	after := d.pool.Settle(tcpConns)
	broken := after.Broken - d.poolBefore.Broken
	beyond := after.BrokenUnmoved() - d.poolBefore.BrokenUnmoved()
	d.check(w.MovedTwice == 0, "UDP: %d flows moved more than once", w.MovedTwice)
	d.check(w.LostUnmoved == 0, "UDP: %d packets at %.0f/s, %d of %d flows moved by the tables; lost on moved flows %d, on others %d",
		w.Sent, w.Rate, w.MovedFlows, udpFlows, w.Lost-w.LostUnmoved, w.LostUnmoved)
	reason := ""
	if beyond > 0 {
		reason = errorText(after.LastUnmoved)
	}
	d.check(beyond == 0 && after.Open == tcpConns, "TCP: %d of %d connections moved by the tables, %d broken beyond those%s",
		broken-beyond, tcpConns, beyond, reason)
	d.check(w.Rate >= 10000, "load held at %.0f packets/s (at least 10000)", w.Rate)
}

// firstPacket says how long after the request the workload answered first.
func (d *demo) firstPacket(w traffic.Window, name string) {
	first, ok := w.First[name]
	d.check(ok, "%s: %s from request to first packet", name, millis(first.Sub(d.changeMoment)))
}

func (d *demo) fourthJoins(ctx context.Context) error {
	d.say("-- w4 joins")
	d.begin()
	if err := d.workloads[3].attach(nic, "lb.trench-a"); err != nil {
		return err
	}
	d.took(d.changeMoment, "w4: weft attachment add lb.trench-a --stream web")
	w, err := d.observe(ctx)
	if err != nil {
		return err
	}
	d.firstPacket(w, "w4")
	d.summary(w)
	return nil
}

func (d *demo) oneLeavesAndReturns(ctx context.Context) error {
	d.say("-- w2 leaves")
	d.begin()
	if err := d.workloads[1].detach(nic); err != nil {
		return err
	}
	d.took(d.changeMoment, "w2: weft attachment delete w2-%s", nic)
	w, err := d.observe(ctx)
	if err != nil {
		return err
	}
	d.summary(w)
	d.say("-- w2 joins again")
	d.begin()
	if err := d.workloads[1].attach(nic, "lb.trench-a"); err != nil {
		return err
	}
	if w, err = d.observe(ctx); err != nil {
		return err
	}
	d.firstPacket(w, "w2")
	d.summary(w)
	return nil
}

func (d *demo) oneJoinsSecondStream(ctx context.Context) error {
	d.say("-- w1 joins a second stream, api (port %d)", apiPort)
	w1 := d.workloads[0]
	before, err := cluster.IdentityOf(w1.NetNS, nic)
	if err != nil {
		return err
	}
	api, err := traffic.StartSteady(traffic.SteadyConfig{To: destinations(apiPort), Flows: 16, Rate: 2000, Dial: d.a.Dial()})
	if err != nil {
		return err
	}
	defer api.Stop()
	from := api.Mark()
	d.begin()
	if err := w1.cli("stream", "join", "api", "--attachment", w1.Name+"-"+nic); err != nil {
		return err
	}
	d.took(d.changeMoment, "w1: weft stream join api")
	w, err := d.observe(ctx)
	if err != nil {
		return err
	}
	d.firstPacket(api.Between(from, api.Mark()), "w1")
	d.summary(w)
	after, err := cluster.IdentityOf(w1.NetNS, nic)
	if err != nil {
		return err
	}
	d.check(cmp.Equal(before, after), "%s keeps ifindex %d, MAC %s and its %d addresses", nic, after.Index, after.MAC, len(after.Addresses))
	return nil
}

func (d *demo) oneJoinsSecondTrench(ctx context.Context) error {
	d.say("-- w3 attaches to a second network too: lb.trench-b, with the same VIPs and port")
	if err := d.startReplica(ctx, d.b, "trench-b", "b", 1); err != nil {
		return err
	}
	if err := d.b.Route(vips, 1); err != nil {
		return err
	}
	other, err := traffic.StartSteady(traffic.SteadyConfig{To: destinations(webPort), Flows: 16, Rate: 2000, Dial: d.b.Dial()})
	if err != nil {
		return err
	}
	defer other.Stop()
	from := other.Mark()
	d.begin()
	w3 := d.workloads[2]
	if err := w3.attach("nsm-2", "lb.trench-b"); err != nil {
		return err
	}
	d.took(d.changeMoment, "w3: weft attachment add lb.trench-b --stream web")
	w, err := d.observe(ctx)
	if err != nil {
		return err
	}
	d.firstPacket(other.Between(from, other.Mark()), "w3")
	d.summary(w)
	for _, network := range []string{"tcp", "udp"} {
		t := traffic.AskMany(d.b.Dial(), network, destinations(webPort), 100, 8, 2*time.Second)
		d.check(t.ByServer["w3"] == 100, "trench-b %s: %d of 100 answered by w3%s", network, t.ByServer["w3"], errorText(t.FirstError))
	}
	return nil
}
