// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/bpffs"
	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/pkg/dataplane/ingress"
)

// Rules is what the program decides by. An address is a VIP when VIPs contains
// it.
type Rules struct {
	VIPs  []netip.Prefix
	Flows []classify.Rule
	NATs  []classify.NAT
	// MSSClamp lowers the MSS option of TCP SYNs to what fits the MTUs.
	MSSClamp bool
	// Affinity is how many flows stay with their target when tables change; 0:
	// none, the target is the table's alone. A change of it forgets all.
	Affinity int
}

// LB is a running load balancer. All methods may be called concurrently.
type LB struct {
	cfg Config
	id  identity

	// rules serialises SetRules, which waits for the kernel, so that tables
	// and targets need not wait with it. Locked before mu. objs is read with
	// either of the two and written with both.
	rules   sync.Mutex
	objs    *objects
	inForce Rules         // guarded by rules
	written net.Interface // as inForce was written; guarded by rules

	follower *follower // nil until New is done

	mu      sync.Mutex // guards everything below
	streams []byte     // memory of lb_streams
	members []byte     // memory of lb_members
	targets []byte     // memory of lb_targets
	control []byte     // memory of lb_control
	ways    []byte     // memory of lb_gateways
	probed  []byte     // memory of lb_probes
	rings   map[uint32]*ring
	links   []attachment // of the external interface
	// inherited are the links of a predecessor that are not taken over yet.
	inherited map[string]link.Link
	heritage  *heritage // what it knew, nil when there was none or it is outdated
	shadow    bool      // a predecessor works until TakeOver
	groups    int       // socket that makes it receive all multicast, -1: none
	gateways  Gateways  // in force
	told      bool      // by SetGateways; else they are a predecessor's
	lookups   bool      // the kernel answers those of the program
	watchers  map[*watcher]struct{}

	blockID uint32
	pinned  bool         // the pin directory is ours
	place   *bpffs.Place // it, nil without
	record  record       // that belongs there

	slow *slowPath // nil until New is done; has locks of its own

	dev     atomic.Pointer[net.Interface] // the external interface
	probing sync.Mutex                    // one probe at a time; guards probes
	probes  uint32                        // how many there were

	// legsMu is held while the kernel attaches a leg, so that nothing else
	// waits with it. Never lock another one under it.
	legsMu sync.Mutex
	block  *ingress.Block // the legs
	legs   map[int]int    // how often each is attached, by ifindex
}

// New loads the program and attaches it to the external interface. Without
// rules it leaves every packet to the stack.
//
// With Config.PinDir, it may find a predecessor: programs that a process has
// left there. They go on working, with what they know, and New's are prepared
// beside them, sharing nothing, until TakeOver.
func New(cfg Config) (_ *LB, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	l := &LB{
		cfg: cfg.withDefaults(), groups: -1, rings: make(map[uint32]*ring),
		legs: make(map[int]int), watchers: make(map[*watcher]struct{}),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.end(l.shadow))
		}
	}()
	dev, err := l.device()
	if err != nil {
		return nil, err
	}
	xdp, err := l.wantXDP()
	if err != nil {
		return nil, err
	}
	l.id = newIdentity(dev.Index, xdp)
	// The id of a predecessor that was killed: its legs are taken over.
	l.blockID = ingress.ID(fmt.Sprintf("lb/%s/%d", l.cfg.Interface, l.cfg.VLAN))
	if err := l.inherit(); err != nil {
		return nil, err
	}
	if err := l.prepare(); err != nil {
		return nil, err
	}
	if err := l.receiveMulticast(); err != nil {
		return nil, err
	}
	if !l.shadow {
		l.mu.Lock()
		err = l.attach()
		l.mu.Unlock()
		if err != nil {
			return nil, err
		}
	}
	if err := l.follow(); err != nil {
		return nil, err
	}
	return l, nil
}

// prepare makes everything that programs need.
func (l *LB) prepare() (err error) {
	if l.objs, err = load(l.cfg, l.id, shape{blob: blobSizes[0]}, nil); err != nil {
		return err
	}
	open := ingress.Open
	if l.shadow {
		open = ingress.OpenBehind
	}
	if l.block, err = open(l.cfg.NetNS, l.blockID, l.objs.LbReply); err != nil {
		return err
	}
	for mem, m := range map[*[]byte]*ebpf.Map{
		&l.streams: l.objs.LbStreams, &l.members: l.objs.LbMembers,
		&l.targets: l.objs.LbTargets, &l.control: l.objs.LbControl,
		&l.ways: l.objs.LbGateways, &l.probed: l.objs.LbProbes,
	} {
		if *mem, err = mapMemory(m); err != nil {
			return err
		}
	}
	l.inheritGateways()
	if l.slow, err = startSlowPath(l); err != nil {
		return err
	}
	return l.SetRules(Rules{})
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

// Close detaches from all interfaces and releases everything, of a predecessor,
// too. After a successor has taken over, it is Abandon.
func (l *LB) Close() error { return l.end(false) }

// Abandon ends the process's part and leaves everything that is pinned to work
// on. Without Config.PinDir nothing is, and it is Close.
func (l *LB) Abandon() error { return l.end(l.cfg.PinDir != "") }

func (l *LB) end(keep bool) error {
	l.stopWatchers()
	if l.follower != nil { // it may be waiting for rules
		l.follower.close()
	}
	l.rules.Lock()
	defer l.rules.Unlock()
	var errs []error
	if l.slow != nil { // it may be waiting for mu
		errs = append(errs, l.slow.close())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.legsMu.Lock()
	defer l.legsMu.Unlock()
	keep = keep || l.pinned && l.succeeded()
	if l.block != nil {
		errs = append(errs, l.block.Close(keep))
	}
	if l.pinned && !keep {
		errs = append(errs, Discard(l.cfg.PinDir))
	}
	for _, lk := range l.links {
		errs = append(errs, lk.link.Close())
	}
	errs = append(errs, closeLinks(l.inherited), l.heritage.close())
	if l.groups >= 0 {
		errs = append(errs, unix.Close(l.groups))
		l.groups = -1
	}
	for _, r := range l.rings {
		errs = append(errs, r.close())
	}
	for _, mem := range [][]byte{l.streams, l.members, l.targets, l.control, l.ways, l.probed} {
		if mem != nil {
			errs = append(errs, unix.Munmap(mem))
		}
	}
	if l.objs != nil {
		errs = append(errs, l.objs.Close())
	}
	l.block, l.links, l.rings, l.objs = nil, nil, nil, nil
	l.inherited, l.heritage, l.pinned = nil, nil, false
	l.streams, l.members, l.targets, l.control, l.ways, l.probed = nil, nil, nil, nil, nil, nil
	return errors.Join(errs...)
}

var errClosed = errors.New("load balancer is closed")
