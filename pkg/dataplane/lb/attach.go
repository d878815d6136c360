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
)

// attachment is a program on the external interface.
type attachment struct {
	link    link.Link
	program func(*objects) *ebpf.Program // which one it is
}

func (l *LB) attach() error {
	return netns.Do(l.cfg.NetNS, func() (err error) {
		if l.groups, err = allMulticast(l.id.ifindex); err != nil {
			return err
		}
		if err := l.attachTCX(ebpf.AttachTCXIngress, func(o *objects) *ebpf.Program { return o.Lb }); err != nil {
			return err
		}
		if l.cfg.VLAN != 0 {
			if err := l.attachTCX(ebpf.AttachTCXEgress, func(o *objects) *ebpf.Program { return o.LbEgress }); err != nil {
				return err
			}
		}
		return l.attachXDP()
	})
}

func (l *LB) attachTCX(where ebpf.AttachType, program func(*objects) *ebpf.Program) error {
	lk, err := link.AttachTCX(link.TCXOptions{Interface: l.id.ifindex, Program: program(l.objs), Attach: where})
	if err == nil {
		l.links = append(l.links, attachment{lk, program})
	}
	return err
}

// attachXDP comes last: what XDP hands over, tcx takes over. In ModeAuto a driver
// that does not run XDP is none the worse for it.
func (l *LB) attachXDP() error {
	if l.objs.xdp == nil {
		return nil
	}
	lk, err := link.AttachXDP(link.XDPOptions{Interface: l.id.ifindex, Program: l.objs.xdp, Flags: link.XDPDriverMode})
	switch {
	case err == nil:
		l.links = append(l.links, attachment{lk, func(o *objects) *ebpf.Program { return o.xdp }})
		return nil
	case l.cfg.Mode == ModeXDP:
		return fmt.Errorf("xdp in the driver: %w", err)
	}
	l.id.secret = 0 // programs to come are without
	return nil
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
