// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"fmt"
	"io"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/weft-project/weft/internal/netns"
)

// leg is an interface towards a target with the reply program on it.
type leg struct {
	lb      *LB
	ifindex int
	link    link.Link
}

// AttachLeg attaches the reply program to an interface of the namespace: what
// comes from a VIP leaves for a gateway. Closing detaches it; an interface that
// vanishes takes the attachment with it, but wants to be closed all the same.
func (l *LB) AttachLeg(ifindex int) (io.Closer, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.objs == nil {
		return nil, errClosed
	}
	g := &leg{lb: l, ifindex: ifindex}
	err := netns.Do(l.cfg.NetNS, func() (err error) {
		g.link, err = link.AttachTCX(link.TCXOptions{
			Interface: ifindex,
			Program:   l.objs.LbReply,
			Attach:    ebpf.AttachTCXIngress,
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("attach lb_reply to leg %d: %w", ifindex, err)
	}
	l.legs[g] = struct{}{}
	return g, nil
}

// Close detaches; a second call does nothing.
func (g *leg) Close() error {
	g.lb.mu.Lock()
	defer g.lb.mu.Unlock()
	if _, ok := g.lb.legs[g]; !ok {
		return nil
	}
	delete(g.lb.legs, g)
	if err := g.link.Close(); err != nil {
		return fmt.Errorf("detach lb_reply from leg %d: %w", g.ifindex, err)
	}
	return nil
}
