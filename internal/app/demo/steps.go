// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weft-project/weft/internal/cluster"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/traffic"
)

const (
	nic           = "nsm-1" // the interface that a workload gains first
	firstReplicas = 2       // of trench-a, before anything changes
)

// startSites makes the outside of both networks and the load balancers of the
// first.
func (d *demo) startSites(ctx context.Context) (err error) {
	if d.a, err = cluster.NewSite(d.topo, "a", 1); err != nil {
		return err
	}
	if d.b, err = cluster.NewSite(d.topo, "b", 2); err != nil {
		return err
	}
	for number := range firstReplicas {
		if err := d.startReplica(ctx, d.a, "trench-a", "a", byte(number+1)); err != nil {
			return err
		}
	}
	return d.a.Route(vips, 1, 2)
}

// attachThree is the second half of step 2.
func (d *demo) attachThree(ctx context.Context) error {
	for _, w := range d.workloads[:3] {
		start := time.Now()
		if err := w.attach(nic, "lb.trench-a"); err != nil {
			return err
		}
		d.took(start, "%s: weft attachment add lb.trench-a --stream web", w.Name)
		if err := d.describe(w, nic); err != nil {
			return err
		}
	}
	return d.inTables(ctx, 3)
}

// attach runs the command that a user would type inside the workload.
func (w *workload) attach(iface, service string) error {
	return w.cli("attachment", "add", service, "--name", w.Name+"-"+iface, "--interface", iface, "--stream", "web")
}

func (w *workload) detach(iface string) error {
	return w.cli("attachment", "delete", w.Name+"-"+iface)
}

// describe prints what the kernel of the workload shows, not what we believe.
func (d *demo) describe(w *workload, iface string) error {
	return nl.Do(w.NetNS, func(h *nl.Handle) error {
		link, err := h.LinkByName(iface)
		if err != nil {
			return err
		}
		addrs, err := h.Addresses(link.Index)
		if err != nil {
			return err
		}
		rules, err := h.Rules()
		if err != nil {
			return err
		}
		var texts []string
		for _, a := range addrs {
			if !a.Addr().IsLinkLocalUnicast() {
				texts = append(texts, a.String())
			}
		}
		var from []string
		for _, r := range rules {
			if text := r.From.Addr().String(); !slices.Contains(from, text) {
				from = append(from, text)
			}
		}
		d.say("    %s %s  %s", link.Name, link.MAC, strings.Join(texts, " "))
		d.say("    policy routes for sources %s over %d replicas", strings.Join(from, ", "), firstReplicas)
		return nil
	})
}

// await polls a condition that comes true in milliseconds.
func await(what string, ok func() bool) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			return fmt.Errorf("wait for %s: not within %s", what, patience)
		}
	}
	return nil
}

// exchange is step 3.
func (d *demo) exchange(context.Context) error {
	d.step("From outside: 400 TCP connections and 400 UDP exchanges to the VIPs, IPv4 and IPv6")
	for _, network := range []string{"tcp", "udp"} {
		start := time.Now()
		t := traffic.AskMany(d.a.Dial(), network, destinations(webPort), 400, 16, 2*time.Second)
		d.took(start, "%s: answers %s", network, distribution(t.ByServer))
		d.check(t.Answered == t.Asked, "%s: %d of %d answered, %d lost%s", network, t.Answered, t.Asked,
			t.Asked-t.Answered, errorText(t.FirstError))
		d.check(len(t.ByServer) == 3, "%s: all three targets answered", network)
		d.check(t.Rewritten == 0, "%s: every workload saw the client's own address (no NAT)", network)
	}
	return nil
}

func distribution(by map[string]int) string {
	var parts []string
	for name, n := range by {
		parts = append(parts, fmt.Sprintf("%s %d", name, n))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return " (" + err.Error() + ")"
}

// blackout checks for how long packets went to what is there no more.
func (d *demo) blackout(w traffic.Window, since time.Time, limit time.Duration, what, after string) {
	took := time.Duration(0)
	if w.LastLost.After(since) {
		took = w.LastLost.Sub(since)
	}
	d.check(took <= limit, "%s %s after %s (limit %d ms), %d packets lost", what, millis(took), after, limit.Milliseconds(), w.Lost)
}

// detachAll is the last step.
func (d *demo) detachAll() error {
	d.stopTraffic()
	d.step("Everything detaches")
	for _, w := range d.workloads {
		ifaces, err := interfaces(w.NetNS)
		if err != nil {
			return err
		}
		for _, iface := range ifaces {
			start := time.Now()
			if err := w.detach(iface); err != nil {
				return err
			}
			d.took(start, "%s: weft attachment delete %s-%s", w.Name, w.Name, iface)
		}
	}
	for _, w := range d.workloads {
		if err := d.pristine(w); err != nil {
			return err
		}
	}
	return nil
}

// interfaces returns what the namespace has beside lo.
func interfaces(path string) (names []string, err error) {
	err = nl.Do(path, func(h *nl.Handle) error {
		links, err := h.Links()
		for _, l := range links {
			if l.Name != "lo" {
				names = append(names, l.Name)
			}
		}
		return err
	})
	return names, err
}

// pristine checks that a workload is as it was before, and still the same.
func (d *demo) pristine(w *workload) error {
	ifaces, err := interfaces(w.NetNS)
	if err != nil {
		return err
	}
	routing := 0
	if err := nl.Do(w.NetNS, func(h *nl.Handle) (err error) {
		routing, err = routingOf(h)
		return err
	}); err != nil {
		return err
	}
	d.check(w.Alive() && len(ifaces) == 0 && routing == 0,
		"%s still runs as pid %d; interfaces of ours %d, routes and rules of ours %d", w.Name, w.PID(), len(ifaces), routing)
	return nil
}
