// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weft-project/weft/internal/announce"
	"github.com/weft-project/weft/internal/frontend"
	"github.com/weft-project/weft/internal/frontend/process"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/resource/compile"
	"github.com/weft-project/weft/pkg/dataplane/lb"
)

// front is the endpoint's frontend: what decides about its VIPs, and the process
// that speaks to the gateways, if one of them is to be spoken to.
type front struct {
	*Component
	announcer *announce.Announcer
	events    announce.Recorder
	cancel    context.CancelFunc // ends what runs below
	ctx       context.Context
	group     sync.WaitGroup

	applying    sync.Mutex    // held over changes of what the process is to do
	registering sync.Mutex    // held while the registry is told of outages
	reachable   chan struct{} // isolated may have changed

	mu       sync.Mutex // guards all below
	known    bool       // want was set
	want     *compile.Frontend
	announce []netip.Prefix
	speaker  *process.Process // nil while every gateway is static and not watched
	told     *told            // nil: nothing yet, or it is being told
	problem  string
	status   frontend.Status
	draining bool
	isolated bool          // and none is any more
	settling bool          // they have one again, and targets are coming
	down     string        // why the external interface does not work
	changed  chan struct{} // closed and replaced with every change
}

// FrontendPrefix begins the names of control sockets of frontends' processes.
const FrontendPrefix = "frontend-"

// FrontendSocketName returns the name of the control socket of a replica's
// frontend.
func FrontendSocketName(replica string) string {
	return FrontendPrefix + url.PathEscape(replica) + ".sock"
}

// startFront starts deciding, and finds the process that an earlier endpoint of
// this name has left.
func (c *Component) startFront(ctx context.Context, deps Deps) error {
	f := &front{
		Component: c, events: deps.Events, changed: make(chan struct{}), reachable: make(chan struct{}, 1),
		down: "the external interface has not been seen yet",
	}
	f.ctx, f.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if f.events == nil {
		f.events = announce.LogRecorder{Log: c.log}
	}
	c.front = f
	c.release = append(c.release, release{f.close, f.abandon})
	if deps.Metrics != nil {
		metrics := prometheus.WrapRegistererWith(prometheus.Labels{"endpoint": c.config.Name}, deps.Metrics)
		collector := frontend.Collector{Status: f.statusNow}
		if err := metrics.Register(&collector); err != nil {
			return fmt.Errorf("register metrics: %w", err)
		}
		c.onStop(func() error { metrics.Unregister(&collector); return nil })
	}
	var adopted []netip.Prefix
	if c.config.FrontendSocket != "" {
		if _, err := os.Stat(c.config.FrontendSocket); err == nil {
			if err := f.start(ctx); err != nil {
				return err
			}
			config, _ := f.speaker.Adopted()
			adopted = config.Announce
			f.announce = slices.Clone(adopted)
		}
	}
	f.announcer = announce.New(announce.Options{
		Balancer: c.balancer, Probe: f.probe, Health: f.health, Publish: f.publish, OnChange: f.decided, Adopted: adopted,
	})
	if err := nl.WatchLinks(f.ctx, c.config.NetNS, f.linkEvent); err != nil {
		return fmt.Errorf("watch the external interface: %w", err)
	}
	if len(adopted) == 0 {
		f.settle(true) // a new replica: flows come to it when its tables are those of the others
	}
	f.group.Go(func() { f.announcer.Run(f.ctx) })
	f.group.Go(f.follow)
	return nil
}

// SetFrontend replaces what the endpoint's frontend is to do; nil: its conduit has
// no attractor. What the outside does not allow yet is no error, but in Frontend.
func (c *Component) SetFrontend(ctx context.Context, want *compile.Frontend) error {
	err := c.front.set(ctx, want)
	c.front.mu.Lock()
	c.front.problem = ""
	if err != nil {
		c.front.problem = err.Error()
	}
	c.front.mu.Unlock()
	c.front.tell()
	return err
}

func (f *front) set(ctx context.Context, want *compile.Frontend) error {
	// What an earlier endpoint announced stays announced in between.
	if want == nil {
		f.announcer.Set(nil, false)
	} else {
		f.announcer.Set(want.Config.VIPs, len(want.Config.Gateways) > 0)
	}
	defer f.announcer.Kick()
	f.mu.Lock()
	running := f.speaker != nil
	if !f.known && spoken(want) {
		f.isolated = !running || len(f.speaker.Status().Routes) == 0
		f.look()
	}
	f.known, f.want = true, want
	f.mu.Unlock()
	if !running && spoken(want) {
		if f.config.FrontendSocket == "" {
			return errors.New("gateways with BGP or BFD need a control socket for the frontend's process")
		}
		if f.config.VLAN != 0 {
			return fmt.Errorf("gateways with BGP or BFD cannot be reached with tag %d on the external interface; use an attractor's nsm-vlan", f.config.VLAN)
		}
		if err := f.start(ctx); err != nil {
			return err
		}
	}
	return f.apply(ctx)
}

// spoken says whether a gateway has a session. A static one that is not watched
// needs nobody to speak to it.
func spoken(want *compile.Frontend) bool {
	return want != nil && slices.ContainsFunc(want.Config.Gateways, func(g frontend.Gateway) bool { return g.BGP != nil || g.BFD != nil })
}

// start finds or starts the process and follows it.
func (f *front) start(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Dir(f.config.FrontendSocket), 0o755); err != nil {
		return err
	}
	speaker, err := process.Start(ctx, process.Options{NetNS: f.config.NetNS, Socket: f.config.FrontendSocket, Log: f.log})
	if err != nil {
		return err
	}
	f.mu.Lock()
	f.speaker = speaker
	f.mu.Unlock()
	f.group.Go(func() { _ = speaker.Watch(f.ctx, f.spoke) }) // ends with the context
	return nil
}

// apply tells the process what to do.
func (f *front) apply(ctx context.Context) error {
	f.applying.Lock()
	defer f.applying.Unlock()
	f.mu.Lock()
	speaker, config := f.speaker, f.configNow()
	f.told = nil
	f.mu.Unlock()
	if speaker == nil {
		return nil
	}
	err := speaker.Set(ctx, config)
	f.mu.Lock()
	f.told = &told{config, err}
	f.mu.Unlock()
	return err
}

// configNow is what the process is to do. The caller holds mu.
func (f *front) configNow() frontend.Config {
	config := frontend.Config{Replica: f.config.Name, Table: compile.Table(f.config.Name)}
	if f.want != nil {
		config = f.want.Config
		config.Gateways = slices.Clone(config.Gateways)
	}
	config.Interface = f.config.ExternalInterface
	for _, p := range config.VIPs {
		if slices.Contains(f.announce, p) {
			config.Announce = append(config.Announce, p)
		}
	}
	for i := range config.Gateways {
		// BFD told down withdraws where routes lead here by it alone; answers may go on.
		if f.draining && config.Gateways[i].BGP == nil {
			config.Gateways[i].BFD = nil
		}
	}
	return config
}

// spoke takes a status of the process: first answers get their way, then whoever
// looks is told.
func (f *front) spoke(s frontend.Status) {
	f.mu.Lock()
	live := spoken(f.want)
	f.status = s
	f.mu.Unlock()
	if live {
		g := lb.Gateways{Default4: s.Default4, Default6: s.Default6}
		if s.Specific {
			g.Table = uint32(compile.Table(f.config.Name))
		}
		if err := f.balancer.SetGateways(g); err != nil {
			f.log.Error("gateways are not in force", "err", err)
		}
	}
	f.reach(s)
	f.tell()
}

func (f *front) statusNow() frontend.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

func (f *front) probe(vip netip.Prefix) error {
	err := f.balancer.Probe(vip)
	if errors.Is(err, lb.ErrNotSeen) {
		return fmt.Errorf("%w: %w", announce.ErrDataPath, err)
	}
	return err
}

func (f *front) health() (announce.Reason, string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down != "" {
		return announce.InterfaceDown, f.down
	}
	if f.settling && spoken(f.want) {
		return announce.NoTarget, "targets are coming since answers have a way"
	}
	return announce.Announced, ""
}

// publish is told by the announcer what to announce.
func (f *front) publish(vips []netip.Prefix) error {
	f.mu.Lock()
	known := f.known
	if known {
		f.announce = vips
	}
	f.mu.Unlock()
	if !known {
		return errNotKnown
	}
	ctx, cancel := context.WithTimeout(context.Background(), publishLimit)
	defer cancel()
	err := f.apply(ctx)
	if err != nil {
		f.log.Error("announcements are not in force", "err", err)
	}
	f.tell()
	return err
}

var errNotKnown = errors.New("the attractor is not known yet")

const publishLimit = 5 * time.Second

func (f *front) decided(d announce.Decision) {
	f.events.Record(announce.Event{
		Replica: f.config.Name, Trench: f.config.Trench, Conduit: f.config.Conduit,
		VIP: d.VIP, Announced: d.Announced, Reason: d.Reason, Message: d.Message,
	})
	f.tell()
}

func (f *front) linkEvent(e nl.LinkEvent) {
	if e.Link.Name != f.config.ExternalInterface {
		return
	}
	down := ""
	switch {
	case e.Gone:
		down = fmt.Sprintf("the external interface %s is missing", e.Link.Name)
	case !e.Link.Up:
		down = fmt.Sprintf("the external interface %s is down", e.Link.Name)
	case !e.Link.Carrier:
		down = fmt.Sprintf("the external interface %s has no carrier", e.Link.Name)
	}
	f.mu.Lock()
	news := down != f.down
	f.down = down
	f.mu.Unlock()
	if news {
		f.announcer.Kick()
	}
}

// drain withdraws the VIPs and waits until the gateways have had the time to send
// traffic elsewhere.
func (f *front) drain(ctx context.Context) {
	f.registering.Lock()
	f.mu.Lock()
	f.draining = true
	f.registering.Unlock()
	speaker := f.speaker
	waits := speaker != nil && slices.ContainsFunc(f.status.Gateways, func(g frontend.GatewayStatus) bool { return g.Up })
	f.mu.Unlock()
	f.announcer.Drain()
	if !waits {
		return
	}
	_ = f.apply(ctx) // static gateways; what is refused is in the status
	timer := time.NewTimer(f.config.Withdraw)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (f *front) end() {
	f.cancel()
	f.group.Wait()
}

// close ends the frontend, and tells the gateways.
func (f *front) close() error {
	f.end()
	if f.speaker == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), publishLimit)
	defer cancel()
	return f.speaker.Close(ctx)
}

// abandon leaves the process to the next endpoint of this name.
func (f *front) abandon() error {
	f.end()
	if f.speaker == nil {
		return nil
	}
	return f.speaker.Detach()
}

func (f *front) tell() {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.changed)
	f.changed = make(chan struct{})
}

// FrontendChanged returns a channel that is closed when what Frontend returns
// changes next.
func (c *Component) FrontendChanged() <-chan struct{} {
	c.front.mu.Lock()
	defer c.front.mu.Unlock()
	return c.front.changed
}

// Frontend returns the state of the endpoint's frontend.
func (c *Component) Frontend() announce.State {
	f := c.front
	decisions := f.announcer.Decisions()
	f.mu.Lock()
	defer f.mu.Unlock()
	s := announce.State{
		Replica: c.config.Name, Trench: c.config.Trench, Conduit: c.config.Conduit,
		NetNS: c.config.NetNS, Interface: c.config.ExternalInterface, Table: compile.Table(c.config.Name),
		Problem: f.problem, Static: f.speaker == nil, Status: f.status, VIPs: decisions,
	}
	if f.want != nil {
		s.Attractor, s.Withheld = f.want.Attractor, f.want.Withheld
	}
	if s.Problem == "" && f.down != "" {
		s.Problem = f.down
	}
	return s
}
