// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weft-project/weft/internal/balancer"
)

// DefaultInterval is how often a VIP is probed.
const DefaultInterval = time.Second

// ErrDataPath is wrapped by errors of probes that the data path did not see.
var ErrDataPath = errors.New("the data path is down")

// Balancer is what is asked about streams and targets.
type Balancer interface {
	Snapshot() balancer.Snapshot
	Changed() <-chan struct{}
	Config() *balancer.Config
}

// Health says whether traffic could be forwarded at all: Announced, or
// DataPathDown or InterfaceDown with a message.
type Health func() (Reason, string)

// Options of an Announcer. All but Balancer, Probe and Publish may be left out.
type Options struct {
	Balancer Balancer
	// Probe says why packets to a VIP are not forwarded; nil: one was seen leaving
	// towards a target. ErrDataPath: the data path does not see packets at all.
	Probe  func(vip netip.Prefix) error
	Health Health
	// Publish is told the VIPs to announce, sorted, whenever they are others. An
	// error makes it be called again.
	Publish func([]netip.Prefix) error
	// OnChange is told about every decision that is news. Publish and OnChange are
	// called by one goroutine.
	OnChange func(Decision)
	Interval time.Duration // DefaultInterval when 0
	// Adopted are VIPs that are announced already: they stay so while the balancer
	// waits for the targets of its predecessor.
	Adopted []netip.Prefix
}

// Announcer decides until its context ends.
type Announcer struct {
	opts Options
	kick chan struct{}

	mu       sync.Mutex // guards all below
	vips     map[netip.Prefix]*vip
	gateways bool
	draining bool

	// Only Run reads and writes these.
	snapshot  balancer.Snapshot
	changed   <-chan struct{}
	published []netip.Prefix
	fresh     bool // published is in force
}

// New returns an announcer of no VIPs.
func New(opts Options) *Announcer {
	if opts.Interval <= 0 {
		opts.Interval = DefaultInterval
	}
	if opts.Health == nil {
		opts.Health = func() (Reason, string) { return Announced, "" }
	}
	if opts.OnChange == nil {
		opts.OnChange = func(Decision) {}
	}
	a := &Announcer{opts: opts, kick: make(chan struct{}, 1), vips: map[netip.Prefix]*vip{}, published: slices.Clone(opts.Adopted)}
	slices.SortFunc(a.published, netip.Prefix.Compare)
	return a
}

// Set replaces the VIPs of the attractor, and whether it has gateways.
func (a *Announcer) Set(vips []netip.Prefix, gateways bool) {
	a.mu.Lock()
	a.gateways = gateways
	for p := range a.vips {
		if !slices.Contains(vips, p) {
			delete(a.vips, p)
		}
	}
	for _, p := range vips {
		if a.vips[p] == nil {
			v := &vip{}
			v.VIP = p
			if slices.Contains(a.opts.Adopted, p) {
				v.set(true, Announced, "", time.Now())
			} else {
				v.set(false, Probing, "not looked at yet", time.Now())
			}
			a.vips[p] = v
		}
	}
	a.mu.Unlock()
	a.Kick()
}

// Kick makes the announcer look again at once: something that Health looks at has
// changed.
func (a *Announcer) Kick() {
	select {
	case a.kick <- struct{}{}:
	default:
	}
}

// Drain withdraws every VIP for good.
func (a *Announcer) Drain() {
	a.mu.Lock()
	a.draining = true
	a.mu.Unlock()
	a.Kick()
}

// Decisions returns what is decided, sorted by VIP.
func (a *Announcer) Decisions() []Decision {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]Decision, 0, len(a.vips))
	for _, v := range a.vips {
		out = append(out, v.Decision)
	}
	slices.SortFunc(out, func(x, y Decision) int { return x.VIP.Compare(y.VIP) })
	return out
}

// Run decides until ctx ends. It leaves what is announced as it is.
func (a *Announcer) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		a.look()
		p, wait := a.next(time.Now())
		if p.IsValid() {
			a.probe(p)
			continue
		}
		a.publish()
		if !a.fresh {
			wait = min(wait, a.opts.Interval)
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
		case <-a.changed:
		case <-a.kick:
		case <-timer.C:
		}
	}
}

// look withdraws what plainly cannot be announced, before anything is probed.
func (a *Announcer) look() {
	select {
	case <-a.changed:
		a.changed = nil
	default:
	}
	if a.changed == nil {
		a.changed = a.opts.Balancer.Changed()
		a.snapshot = a.opts.Balancer.Snapshot()
	}
	health, why := a.opts.Health()
	config := a.opts.Balancer.Config()
	now := time.Now()
	a.mu.Lock()
	var news []Decision
	withdrawn := false
	for _, v := range a.vips {
		was := v.Announced
		if a.lookAt(v, config, health, why, now) {
			news = append(news, v.Decision)
		}
		withdrawn = withdrawn || was && !v.Announced
	}
	a.mu.Unlock()
	a.tell(news)
	if withdrawn {
		a.publish()
	}
}

// lookAt decides about one VIP without a probe, and says whether that is news.
func (a *Announcer) lookAt(v *vip, config *balancer.Config, health Reason, why string, now time.Time) bool {
	switch {
	case a.draining:
		return v.impossible(Draining, "the replica is being drained", now)
	case health == InterfaceDown:
		return v.impossible(health, why, now)
	case a.snapshot.Shadow:
		if v.Announced {
			return false
		}
		return v.impossible(TakingOver, "a predecessor works until its targets have come", now)
	case health != Announced:
		return v.impossible(health, why, now)
	case !a.gateways:
		return v.impossible(NoGateway, "the attractor has no gateway that can be used", now)
	}
	streams := streamsOf(config, v.VIP)
	if len(streams) == 0 {
		return v.impossible(NoFlow, "no flow leads from it to a stream", now)
	}
	if !slices.ContainsFunc(streams, a.served) {
		return v.impossible(NoTarget, noTarget(streams), now)
	}
	if !v.Announced && !v.tested && v.Reason != Probing {
		return v.set(false, Probing, "waiting for a probe", now)
	}
	return false
}

func noTarget(streams []string) string {
	if len(streams) == 1 {
		return "stream " + streams[0] + " has no target"
	}
	return "none of the streams " + strings.Join(streams, ", ") + " has a target"
}

// streamsOf returns the streams behind a VIP, sorted. The flows of a range hold
// for the VIPs within it, too, and a range is served where one within it is.
func streamsOf(config *balancer.Config, vip netip.Prefix) []string {
	var streams []string
	for i := range config.Flows {
		if slices.ContainsFunc(config.Flows[i].Rule.VIPs, vip.Overlaps) {
			streams = append(streams, config.Flows[i].Stream)
		}
	}
	slices.Sort(streams)
	return slices.Compact(streams)
}

// served says whether the table in force of a stream has a target.
func (a *Announcer) served(stream string) bool { return len(a.snapshot.Stream(stream).Targets) > 0 }

// next returns a VIP whose probe is due, or how long to wait for one.
func (a *Announcer) next(now time.Time) (netip.Prefix, time.Duration) {
	wait := a.opts.Interval
	if a.snapshot.Shadow {
		return netip.Prefix{}, wait // the program is not in force yet
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var first *vip
	for _, v := range a.vips {
		if !v.Announced && v.Reason != Probing && v.Reason != ProbeFailed && !v.tested {
			continue
		}
		due := v.due(a.opts.Interval)
		if left := due.Sub(now); left > 0 {
			wait = min(wait, left)
		} else if first == nil || due.Before(first.due(a.opts.Interval)) {
			first = v
		}
	}
	if first == nil {
		return netip.Prefix{}, wait
	}
	return first.VIP, 0
}

// probe probes a VIP.
func (a *Announcer) probe(p netip.Prefix) {
	err := a.opts.Probe(p)
	a.mu.Lock()
	v := a.vips[p]
	if v == nil {
		a.mu.Unlock()
		return
	}
	was := v.Announced
	news := v.result(err, time.Now())
	d := v.Decision
	a.mu.Unlock()
	if news {
		a.tell([]Decision{d})
	}
	if was && !d.Announced {
		a.publish()
	}
}

func (a *Announcer) tell(news []Decision) {
	slices.SortFunc(news, func(x, y Decision) int { return x.VIP.Compare(y.VIP) })
	for _, d := range news {
		a.opts.OnChange(d)
	}
}

// publish tells which VIPs are announced, if they are others.
func (a *Announcer) publish() {
	want := []netip.Prefix{}
	for _, d := range a.Decisions() {
		if d.Announced {
			want = append(want, d.VIP)
		}
	}
	if a.fresh && slices.Equal(want, a.published) {
		return
	}
	a.published, a.fresh = want, a.opts.Publish(want) == nil
}
