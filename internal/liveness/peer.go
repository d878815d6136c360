// SPDX-License-Identifier: Apache-2.0

package liveness

import (
	"errors"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/liveness/frame"
	"github.com/weft-project/weft/pkg/dataplane/xconnect"
)

// linger is how long a node is probed, and answered, after the last tunnel to it
// was left: the other side leaves a little later, and shall see no death; and the
// next tunnel finds the node known.
const linger = 10 * time.Second

// peer is another node, as seen from one VXLAN device.
type peer struct {
	key       xconnect.Peer
	source    source // of the tunnel that joined last
	tunnels   map[xconnect.TunnelKey]*tunnel
	idleSince time.Time // when the last one was left
	unknown   bool      // to the kernel, although it was told
	prober    prober
	next      time.Time     // of the next probe
	slack     time.Duration // how much earlier it may go
	period    time.Duration // until the next but one, while the node is not calm
	boots     boots
}

// joinPeer adds the tunnel to its peer.
func (l *Liveness) joinPeer(t *tunnel) *peer {
	key := xconnect.Peer{Device: t.Device, Remote: t.Remote}
	from := source{device: t.Device, local: t.Local}
	p, ok := l.peers[key]
	if !ok {
		p = &peer{
			key: key, source: from, tunnels: map[xconnect.TunnelKey]*tunnel{},
			prober: prober{interval: l.opts.Interval, multiplier: l.opts.Multiplier},
			next:   time.Now(), period: l.hurry(),
		}
		l.peers[key] = p
		l.makeKnown(p)
	}
	if p.source != from {
		old := p.source
		p.source = from
		l.release(old)
	}
	p.tunnels[t.Key()] = t
	return p
}

// leavePeer takes the tunnel from its peer.
func (l *Liveness) leavePeer(t *tunnel) {
	delete(t.peer.tunnels, t.Key())
	if len(t.peer.tunnels) == 0 {
		t.peer.idleSince = time.Now()
	}
}

// forgetPeer ends the probing.
func (l *Liveness) forgetPeer(p *peer) {
	delete(l.peers, p.key)
	l.release(p.source)
	if err := l.opts.Plane.DeletePeer(p.key.Device, p.key.Remote); err != nil {
		l.log.Warn("cannot forget node", "peer", p.key.Remote, "err", err)
	}
}

// release closes the socket if no peer uses it.
func (l *Liveness) release(from source) {
	for _, p := range l.peers {
		if p.source == from {
			return
		}
	}
	l.net.release(from)
}

// makeKnown lets the kernel answer the node's probes and note its replies.
func (l *Liveness) makeKnown(p *peer) {
	err := l.opts.Plane.SetPeer(p.key.Device, p.key.Remote)
	if err != nil && !p.unknown {
		l.log.Warn("cannot make node known", "peer", p.key.Remote, "device", p.key.Device, "err", err)
	}
	p.unknown = err != nil
}

// hurry is the first period after which a reply is looked for; periods double up
// to a quarter of the interval.
func (l *Liveness) hurry() time.Duration { return l.opts.Interval / 64 }

// expedite probes a node now that is not alive: something of it was heard.
func (l *Liveness) expedite(p *peer) {
	if p.prober.status == alive || p.period < l.opts.Interval/4 {
		return // or the probes are in a hurry already
	}
	p.period = l.hurry()
	p.next = time.Now()
}

// probe looks at the last reply, judges and sends the next probe.
func (l *Liveness) probe(p *peer) {
	before := p.prober.status
	now := time.Now() // a reply that comes after this had more time than is counted
	_, nonce, err := l.opts.Plane.PeerReply(p.key.Device, p.key.Remote)
	if err != nil {
		// Nothing can be said without the kernel's word, no death either.
		l.makeKnown(p)
	} else {
		l.stats.answered += uint64(p.prober.answer(nonce))
		l.stats.lost += uint64(p.prober.judge(now))
	}
	if after := p.prober.status; after != before {
		l.turn(p, before, after)
	}
	p.next = now.Add(l.opts.Interval)
	if p.prober.calm() {
		p.period = l.opts.Interval / 4
	} else {
		p.next = now.Add(p.period)
		p.period = min(2*p.period, l.opts.Interval/4)
	}
	p.slack = p.next.Sub(now) / 8
	l.sendProbe(p)
}

func (l *Liveness) sendProbe(p *peer) {
	nonce := l.nextNonce()
	err := l.send(p, frame.Frame{VNI: frame.ControlVNI, Type: frame.Probe, Nonce: nonce})
	switch {
	case starved(err):
		l.stats.failed++
	case err != nil:
		l.stats.failed++
		p.prober.sent(nonce, time.Now(), true)
	default:
		p.prober.sent(nonce, time.Now(), false)
	}
}

// starved says that a frame was not sent for want of this node's resources, which
// says nothing of the way to the other.
func starved(err error) bool {
	for _, errno := range []unix.Errno{unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM, unix.EMFILE, unix.ENFILE, unix.EINTR} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// turn does what a death or return entails.
func (l *Liveness) turn(p *peer, before, after status) {
	log := l.log.With("peer", p.key.Remote, "device", p.key.Device, "tunnels", len(p.tunnels))
	switch after {
	case dead:
		l.stats.deaths++
		log.Warn("node does not answer")
	case alive:
		if before == dead {
			l.stats.returns++
			log.Info("node answers again")
		}
	}
	for _, t := range p.tunnels {
		if after == dead {
			t.theirs = carrierDown
			l.ask(t)
		} else if t.pending {
			l.resume(t)
		}
		l.refresh(t)
	}
}

// send sends a frame to the node.
func (l *Liveness) send(p *peer, f frame.Frame) error {
	var buffer [frame.Len]byte
	return l.net.send(p.source, p.key.Remote, f.Append(buffer[:0]))
}

// source is where frames are sent from.
type source struct {
	device int // its underlay
	local  netip.Addr
}

// transport sends datagrams to the VXLAN port of other nodes.
type transport interface {
	open(from source) error // not needed, but send may be quicker then
	send(from source, to netip.Addr, datagram []byte) error
	release(from source)
	close() error
}
