// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"fmt"
	"io"
	"sync"
)

// leg is one attachment of the reply program to an interface towards a target.
type leg struct {
	lb      *LB
	ifindex int
	close   sync.Once
}

// AttachLeg attaches the reply program to an interface of the namespace: what
// comes from a VIP leaves for a gateway. The interface has it until everything
// that AttachLeg returned for it is closed; if it vanishes, that is to be closed
// all the same. An interface whose ingress has another hook of tc is refused.
func (l *LB) AttachLeg(ifindex int) (io.Closer, error) {
	l.legsMu.Lock()
	defer l.legsMu.Unlock()
	if l.block == nil {
		return nil, errClosed
	}
	if err := l.block.Join(ifindex); err != nil {
		return nil, fmt.Errorf("attach lb_reply to leg %d: %w", ifindex, err)
	}
	l.legs[ifindex]++
	return &leg{lb: l, ifindex: ifindex}, nil
}

// Close detaches, if the interface is not attached once more; a second call does
// nothing.
func (g *leg) Close() (err error) {
	g.close.Do(func() { err = g.lb.detachLeg(g.ifindex) })
	return err
}

func (l *LB) detachLeg(ifindex int) error {
	l.legsMu.Lock()
	defer l.legsMu.Unlock()
	if l.legs[ifindex]--; l.legs[ifindex] > 0 {
		return nil
	}
	delete(l.legs, ifindex)
	if l.block == nil {
		return nil
	}
	if err := l.block.Leave(ifindex); err != nil {
		return fmt.Errorf("detach lb_reply from leg %d: %w", ifindex, err)
	}
	return nil
}
