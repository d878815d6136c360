// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/nl"
)

// hook is a place for a program on the external interface.
type hook struct {
	name    string // of its pin
	program func(*objects) *ebpf.Program
	// attach puts the program in front of an old one, if that can be.
	attach func(ifindex int, program *ebpf.Program, old link.Link) (link.Link, error)
}

// hooks are in the order of attachment. XDP comes last: what XDP hands over, tcx
// takes over.
var hooks = [...]hook{
	{"ingress", func(o *objects) *ebpf.Program { return o.Lb }, tcx(ebpf.AttachTCXIngress)},
	{"egress", func(o *objects) *ebpf.Program { return o.LbEgress }, tcx(ebpf.AttachTCXEgress)},
	{"xdp", func(o *objects) *ebpf.Program { return o.xdp }, attachXDP},
}

func tcx(where ebpf.AttachType) func(int, *ebpf.Program, link.Link) (link.Link, error) {
	return func(ifindex int, program *ebpf.Program, old link.Link) (link.Link, error) {
		options := link.TCXOptions{Interface: ifindex, Program: program, Attach: where}
		if old != nil {
			options.Anchor = link.BeforeLink(old)
			if lk, err := link.AttachTCX(options); err == nil {
				return lk, nil
			}
			options.Anchor = nil // it is none of this hook
		}
		return link.AttachTCX(options)
	}
}

func attachXDP(ifindex int, program *ebpf.Program, _ link.Link) (link.Link, error) {
	return link.AttachXDP(link.XDPOptions{Interface: ifindex, Program: program, Flags: link.XDPDriverMode})
}

// attachment is a program on the external interface.
type attachment struct {
	hook
	link link.Link
}

// wants says that there is to be a program at the hook.
func (l *LB) wants(h hook) bool {
	switch h.name {
	case "egress":
		return l.cfg.VLAN != 0
	case "xdp":
		return l.objs.xdp != nil
	}
	return true
}

// attach puts the programs on the external interface: by the links of a
// predecessor where there are such. After an error it may be called again. The
// caller holds mu.
func (l *LB) attach() error {
	return netns.Do(l.cfg.NetNS, func() error {
		for _, h := range hooks {
			if err := l.attachAt(h); err != nil {
				return fmt.Errorf("attach lb to %s: %w", l.cfg.Interface, err)
			}
			afterStep(h.name)
		}
		return nil
	})
}

// afterStep is called after each step of a change of generations, for tests of
// what is left when the process ends there.
var afterStep = func(string) {}

func (l *LB) attachAt(h hook) error {
	old := l.inherited[h.name]
	for _, done := range l.links {
		if done.name == h.name {
			return nil
		}
	}
	if !l.wants(h) {
		return l.dropInherited(h)
	}
	if old != nil && update(old, h.program(l.objs)) == nil {
		l.links = append(l.links, attachment{h, old})
		delete(l.inherited, h.name)
		return nil
	}
	// A link that does not take the program makes room: before, where there is
	// room for one only.
	if h.name == "xdp" {
		if err := l.dropInherited(h); err != nil {
			return err
		}
	}
	lk, err := h.attach(l.id.ifindex, h.program(l.objs), l.inherited[h.name])
	switch {
	case err != nil && h.name == "xdp" && l.cfg.Mode != ModeXDP:
		// In ModeAuto a driver that does not run XDP is none the worse for it.
		l.id.secret = 0 // programs to come are without
		return nil
	case err != nil && h.name == "xdp":
		return fmt.Errorf("xdp in the driver: %w", err)
	case err != nil:
		return err
	}
	if l.cfg.PinDir != "" {
		if err := pin(lk, l.cfg.PinDir, h.name); err != nil {
			return errors.Join(err, lk.Close())
		}
	}
	l.links = append(l.links, attachment{h, lk})
	if old := l.inherited[h.name]; old != nil {
		delete(l.inherited, h.name)
		return errors.Join(old.Detach(), old.Close())
	}
	return nil
}

// dropInherited removes what a predecessor has at the hook.
func (l *LB) dropInherited(h hook) error {
	old := l.inherited[h.name]
	if old == nil {
		return nil
	}
	delete(l.inherited, h.name)
	return errors.Join(detach(l.cfg.PinDir, h.name), old.Close())
}

// receiveMulticast makes the external interface receive all multicast:
// solicitations for a VIP go to a group that the stack, which does not have the
// address, never joins. A socket does it, which ends with the process; if the
// programs do not, the interface's flag.
func (l *LB) receiveMulticast() (err error) {
	if l.cfg.PinDir == "" {
		return netns.Do(l.cfg.NetNS, func() error {
			l.groups, err = allMulticast(l.id.ifindex)
			return err
		})
	}
	h, err := nl.Open(l.cfg.NetNS)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	dev, err := h.LinkByIndex(l.id.ifindex)
	if err != nil {
		return err
	}
	r := record{ifindex: l.id.ifindex, block: l.blockID, netNS: l.cfg.NetNS}
	if before, ok, err := readRecord(l.cfg.PinDir); err == nil && ok {
		r.allMulticast = before.allMulticast
	}
	// One who has set it himself keeps it.
	r.allMulticast = r.allMulticast || !dev.AllMulticast
	if err := r.write(l.cfg.PinDir); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	l.record = r
	afterStep("record")
	return h.SetAllMulticast(l.id.ifindex, true)
}

// Mode returns where the program runs: ModeTCX or ModeXDP.
func (l *LB) Mode() Mode {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.id.secret == 0 {
		return ModeTCX
	}
	return ModeXDP
}

// wantXDP says whether to try XDP. A driver that takes VLAN tags out of the frames
// before XDP sees them would make it mistake other VLANs' frames for its own. On a
// veth, packets would have to be made frames for XDP and packets again.
func (l *LB) wantXDP() (want bool, err error) {
	if l.cfg.Mode == ModeTCX {
		return false, nil
	}
	var driver string
	var strips bool
	err = netns.Do(l.cfg.NetNS, func() error {
		driver, strips, err = deviceInfo(l.cfg.Interface)
		return err
	})
	switch {
	case l.cfg.Mode == ModeAuto:
		return err == nil && driver != "veth" && !strips, nil
	case err != nil:
		return false, fmt.Errorf("ask the driver of %s: %w", l.cfg.Interface, err)
	case strips:
		return false, fmt.Errorf("xdp on %s: the driver takes VLAN tags out of frames; turn that off: ethtool -K %s rxvlan off",
			l.cfg.Interface, l.cfg.Interface)
	}
	return true, nil
}

// deviceInfo returns the name of an interface's driver and whether it takes VLAN
// tags out of the frames that it receives.
func deviceInfo(iface string) (driver string, strips bool, err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", false, err
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	info, err := unix.IoctlGetEthtoolDrvinfo(fd, iface)
	if err != nil {
		return "", false, os.NewSyscallError("ethtool driver info", err)
	}
	flags, err := ethtoolValue(fd, iface, unix.ETHTOOL_GFLAGS, 0)
	if err != nil {
		return "", false, os.NewSyscallError("ethtool flags", err)
	}
	return unix.ByteSliceToString(info.Driver[:]), flags&ethtoolRxVLAN != 0, nil
}

// ethtoolRxVLAN is ETH_FLAG_RXVLAN of linux/ethtool.h.
const ethtoolRxVLAN = 1 << 8

// ethtoolValue passes a struct ethtool_value to the driver and returns its answer.
func ethtoolValue(fd int, iface string, command, value uint32) (uint32, error) {
	ifr, err := unix.NewIfreq(iface)
	if err != nil {
		return 0, err
	}
	arg := [2]uint32{command, value}
	request := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte // the rest of struct ifreq
	}{data: unsafe.Pointer(&arg)}
	copy(request.name[:], ifr.Name())
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	if errno != 0 {
		return 0, errno
	}
	return arg[1], nil
}
