// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/pkg/dataplane/ingress"
)

// Rules is what the program decides by. An address is a VIP when VIPs contains
// it; Gateways are where replies go, spread by flow.
type Rules struct {
	VIPs     []netip.Prefix
	Flows    []classify.Rule
	NATs     []classify.NAT
	Gateways []netip.Addr
	// MSSClamp lowers the MSS option of TCP SYNs to what fits the MTUs.
	MSSClamp bool
	// Affinity is how many flows stay with their target when tables change; 0:
	// none, the target is the table's alone. A change of it forgets all.
	Affinity int
}

// LB is a running load balancer. All methods may be called concurrently.
type LB struct {
	cfg     Config
	ifindex int

	// rules serialises SetRules, which waits for the kernel, so that tables
	// and targets need not wait with it. Locked before mu. objs and size are
	// read with either of the two and written with both.
	rules sync.Mutex
	objs  *bpfObjects
	size  uint32 // of the blob of objs' programs

	mu      sync.Mutex // guards everything below
	streams []byte     // memory of lb_streams
	targets []byte     // memory of lb_targets
	rings   map[uint32]*ring
	links   []link.Link // of the external interface
	groups  int         // socket that makes it receive all multicast, -1: none

	// legsMu is held while the kernel attaches a leg, so that nothing else
	// waits with it. Never lock another one under it.
	legsMu sync.Mutex
	block  *ingress.Block // the legs
	legs   map[int]int    // how often each is attached, by ifindex
}

// New loads the program and attaches it to the external interface. Without
// rules it leaves every packet to the stack.
func New(cfg Config) (_ *LB, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	l := &LB{cfg: cfg.withDefaults(), groups: -1, rings: make(map[uint32]*ring), legs: make(map[int]int)}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	dev, err := l.device()
	if err != nil {
		return nil, err
	}
	l.ifindex = dev.Index
	if l.objs, err = load(l.cfg, l.ifindex, blobSizes[0], nil); err != nil {
		return nil, err
	}
	l.size = blobSizes[0]
	// The id of a predecessor that was killed: its legs are taken over.
	id := ingress.ID(fmt.Sprintf("lb/%s/%d", l.cfg.Interface, l.cfg.VLAN))
	if l.block, err = ingress.Open(l.cfg.NetNS, id, l.objs.LbReply); err != nil {
		return nil, err
	}
	if l.streams, err = mapMemory(l.objs.LbStreams); err != nil {
		return nil, err
	}
	if l.targets, err = mapMemory(l.objs.LbTargets); err != nil {
		return nil, err
	}
	if err := l.SetRules(Rules{}); err != nil {
		return nil, err
	}
	if err := l.attach(); err != nil {
		return nil, fmt.Errorf("attach lb to %s: %w", l.cfg.Interface, err)
	}
	return l, nil
}

// device looks the external interface up in the namespace.
func (l *LB) device() (dev *net.Interface, err error) {
	err = netns.Do(l.cfg.NetNS, func() error {
		dev, err = net.InterfaceByName(l.cfg.Interface)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("find interface %s: %w", l.cfg.Interface, err)
	}
	return dev, nil
}

func (l *LB) attach() error {
	return netns.Do(l.cfg.NetNS, func() (err error) {
		if l.groups, err = allMulticast(l.ifindex); err != nil {
			return err
		}
		if err := l.attachProgram(l.objs.Lb, ebpf.AttachTCXIngress); err != nil {
			return err
		}
		if l.cfg.VLAN == 0 {
			return nil
		}
		return l.attachProgram(l.objs.LbEgress, ebpf.AttachTCXEgress)
	})
}

// allMulticast makes an interface receive all multicast as long as the returned
// socket is open: solicitations for a VIP go to a group that the stack, which
// does not have the address, never joins.
func allMulticast(ifindex int) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open packet socket: %w", err)
	}
	req := unix.PacketMreq{Ifindex: int32(ifindex), Type: unix.PACKET_MR_ALLMULTI}
	if err := unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &req); err != nil {
		return -1, errors.Join(fmt.Errorf("receive all multicast: %w", err), unix.Close(fd))
	}
	return fd, nil
}

func (l *LB) attachProgram(prog *ebpf.Program, where ebpf.AttachType) error {
	lk, err := link.AttachTCX(link.TCXOptions{Interface: l.ifindex, Program: prog, Attach: where})
	if err == nil {
		l.links = append(l.links, lk)
	}
	return err
}

// Close detaches from all interfaces and releases everything.
func (l *LB) Close() error {
	l.rules.Lock()
	defer l.rules.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	l.legsMu.Lock()
	defer l.legsMu.Unlock()
	if l.block != nil {
		errs = append(errs, l.block.Close(false))
	}
	for _, lk := range l.links {
		errs = append(errs, lk.Close())
	}
	if l.groups >= 0 {
		errs = append(errs, unix.Close(l.groups))
		l.groups = -1
	}
	for _, r := range l.rings {
		errs = append(errs, r.close())
	}
	for _, mem := range [][]byte{l.streams, l.targets} {
		if mem != nil {
			errs = append(errs, unix.Munmap(mem))
		}
	}
	if l.objs != nil {
		errs = append(errs, l.objs.Close())
	}
	l.block, l.links, l.rings, l.streams, l.targets, l.objs = nil, nil, nil, nil, nil, nil
	return errors.Join(errs...)
}

var errClosed = errors.New("load balancer is closed")
