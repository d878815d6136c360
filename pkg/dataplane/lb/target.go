// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"fmt"
	"net"
	"sync/atomic"
	"unsafe"
)

// Target is where the packets of a target leave.
type Target struct {
	IfIndex int              // the leg, a veth whose peer belongs to the forwarder
	MAC     net.HardwareAddr // destination of the frames
	LegMAC  net.HardwareAddr // source of the frames
	MTU     int              // longest IP packet of the leg; 0: unlimited
}

const targetSize = int(unsafe.Sizeof(bpfLbTarget{}))

// SetTarget tells where the packets of a target go. It may change while tables
// name it: a packet meets all of the old or all of the new.
func (l *LB) SetTarget(id uint16, t Target) error {
	if t.MTU < 0 {
		return fmt.Errorf("target %d: MTU %d: less than 0", id, t.MTU)
	}
	if t.IfIndex <= 0 || len(t.MAC) != 6 || len(t.LegMAC) != 6 {
		return fmt.Errorf("target %d: interface %d, MAC %q, leg MAC %q: want an index and two 6-byte addresses",
			id, t.IfIndex, t.MAC, t.LegMAC)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e, err := l.target(id)
	if err != nil {
		return err
	}
	if e.Hop[e.Active&1].Ifindex == 0 {
		if err := clearTraffic(l.objs.LbTargetLoad, uint32(id)); err != nil {
			return fmt.Errorf("target %d: %w", id, err)
		}
		l.slow.engine.Forget(id)
	}
	idle := e.Active&1 ^ 1
	hop := &e.Hop[idle]
	hop.Ifindex = uint32(t.IfIndex)
	copy(hop.Dst[:], t.MAC)
	copy(hop.Src[:], t.LegMAC)
	hop.Mtu = uint32(t.MTU)
	atomic.StoreUint32(&e.Active, idle)
	return nil
}

// DeleteTarget makes packets that tables still send to the target drop.
func (l *LB) DeleteTarget(id uint16) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, err := l.target(id)
	if err != nil {
		return err
	}
	idle := e.Active&1 ^ 1
	atomic.StoreUint32(&e.Hop[idle].Ifindex, 0)
	atomic.StoreUint32(&e.Active, idle)
	return nil
}

func (l *LB) target(id uint16) (*bpfLbTarget, error) {
	if id == 0 || int(id) >= l.cfg.MaxTargets {
		return nil, fmt.Errorf("target %d: not in 1 to %d", id, l.cfg.MaxTargets-1)
	}
	if l.objs == nil {
		return nil, errClosed
	}
	return at[bpfLbTarget](l.targets, targetSize*int(id)), nil
}

// TargetAt returns where the packets of a target go; ok says that there is such
// a place.
func (l *LB) TargetAt(id uint16) (t Target, ok bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, err := l.target(id)
	if err != nil {
		return Target{}, false, err
	}
	hop := e.Hop[e.Active&1]
	return Target{
		IfIndex: int(hop.Ifindex), MTU: int(hop.Mtu), MAC: net.HardwareAddr(hop.Dst[:]), LegMAC: net.HardwareAddr(hop.Src[:]),
	}, hop.Ifindex != 0, nil
}
