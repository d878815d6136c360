// SPDX-License-Identifier: Apache-2.0

package nl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	vnl "github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// RouteOp is what to do with a route.
type RouteOp uint8

// Operations of RouteChange.
const (
	RouteAdd     RouteOp = iota + 1 // the same prefix, metric and table is ErrExists
	RouteReplace                    // or add it; the old one and the new one are never both missing
	RouteDelete                     // of the same prefix, metric and table, if it is of ours
)

// RouteChange is one change of a batch.
type RouteChange struct {
	Op RouteOp
	Route
}

// String says what is done.
func (c RouteChange) String() string {
	op := map[RouteOp]string{RouteAdd: "add", RouteReplace: "replace", RouteDelete: "delete"}[c.Op]
	return op + " route " + c.Route.String()
}

// batchSize is how many changes go to the kernel at once. Their answers wait in
// the socket's buffer.
const batchSize = 64

// ChangeRoutes makes changes in their order, many with one system call, and
// returns the error of each: a change that is refused does not hold up the ones
// after it. Gateways of the other family are possible (RFC 8950).
func (h *Handle) ChangeRoutes(changes []RouteChange) []error {
	errs := make([]error, 0, len(changes))
	for len(changes) > 0 {
		n := min(batchSize, len(changes))
		errs = append(errs, h.changeRoutes(changes[:n])...)
		changes = changes[n:]
	}
	return errs
}

func (h *Handle) changeRoutes(changes []RouteChange) []error {
	errs := make([]error, len(changes))
	index := make(map[uint32]int, len(changes))
	var buffer []byte
	for i, c := range changes {
		req := routeRequest(c)
		index[req.Seq] = i
		buffer = append(buffer, req.Serialize()...)
		errs[i] = errNoAnswer
	}
	if err := h.exchange(buffer, len(changes), func(seq uint32, err error) bool {
		i, ok := index[seq]
		if ok {
			errs[i] = wrap(err, "%s", changes[i])
			delete(index, seq)
		}
		return ok
	}); err != nil {
		for _, i := range index {
			errs[i] = wrap(err, "%s", changes[i])
		}
	}
	return errs
}

var errNoAnswer = errors.New("the kernel has not answered")

// exchange sends requests in one message and takes answers until it has count of
// them that took claims.
func (h *Handle) exchange(requests []byte, count int, took func(seq uint32, err error) bool) error {
	socket := h.raw[unix.NETLINK_ROUTE].Socket
	if err := unix.Sendto(socket.GetFd(), requests, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	for count > 0 {
		messages, _, err := socket.Receive()
		if err != nil {
			return err
		}
		for _, m := range messages {
			if m.Header.Type != unix.NLMSG_ERROR || len(m.Data) < 4 {
				continue
			}
			var failure error
			if code := int32(binary.NativeEndian.Uint32(m.Data)); code != 0 {
				failure = syscall.Errno(-code)
			}
			if took(m.Header.Seq, failure) {
				count--
			}
		}
	}
	return nil
}

func routeRequest(c RouteChange) *vnl.NetlinkRequest {
	kind, flags := unix.RTM_NEWROUTE, unix.NLM_F_ACK
	switch c.Op {
	case RouteAdd:
		flags |= unix.NLM_F_CREATE | unix.NLM_F_EXCL
	case RouteReplace:
		flags |= unix.NLM_F_CREATE | unix.NLM_F_REPLACE
	case RouteDelete:
		kind = unix.RTM_DELROUTE
	}
	req := vnl.NewNetlinkRequest(kind, flags)
	r, family := c.Route, family(c.Prefix.Addr())
	msg := &vnl.RtMsg{RtMsg: unix.RtMsg{
		Family: uint8(family), Dst_len: uint8(r.Prefix.Bits()), Protocol: Protocol, Type: unix.RTN_UNICAST,
		Table: unix.RT_TABLE_UNSPEC, Scope: unix.RT_SCOPE_UNIVERSE,
	}}
	table := r.Table
	if table == 0 {
		table = unix.RT_TABLE_MAIN
	}
	attrs := []*vnl.RtAttr{
		vnl.NewRtAttr(unix.RTA_TABLE, vnl.Uint32Attr(uint32(table))),
		vnl.NewRtAttr(unix.RTA_PRIORITY, vnl.Uint32Attr(uint32(r.Metric))),
	}
	if r.Prefix.Bits() > 0 {
		attrs = append(attrs, vnl.NewRtAttr(unix.RTA_DST, r.Prefix.Masked().Addr().AsSlice()))
	}
	if c.Op == RouteDelete {
		msg.Type, msg.Scope = 0, unix.RT_SCOPE_NOWHERE // any
	} else {
		attrs = append(attrs, routeWay(msg, r)...)
	}
	req.AddData(msg)
	for _, attr := range attrs {
		req.AddData(attr)
	}
	return req
}

// routeWay says where a route leads to.
func routeWay(msg *vnl.RtMsg, r Route) (attrs []*vnl.RtAttr) {
	if r.MTU != 0 {
		metrics := vnl.NewRtAttr(unix.RTA_METRICS, nil)
		metrics.AddRtAttr(unix.RTAX_MTU, vnl.Uint32Attr(uint32(r.MTU)))
		attrs = append(attrs, metrics)
	}
	if r.Source.IsValid() {
		attrs = append(attrs, vnl.NewRtAttr(unix.RTA_PREFSRC, r.Source.AsSlice()))
	}
	switch {
	case r.Blackhole:
		msg.Type = unix.RTN_BLACKHOLE
		return attrs
	case len(r.Multipath) > 0:
		var hops []byte
		for _, hop := range r.Multipath {
			hops = append(hops, nextHop(hop, r.Prefix.Addr().Is4())...)
		}
		return append(attrs, vnl.NewRtAttr(unix.RTA_MULTIPATH, hops))
	}
	if r.OnLink {
		msg.Flags |= unix.RTNH_F_ONLINK
	}
	attrs = append(attrs, vnl.NewRtAttr(unix.RTA_OIF, vnl.Uint32Attr(uint32(r.Index))))
	if r.Gateway.IsValid() {
		return append(attrs, gatewayAttr(r.Gateway, r.Prefix.Addr().Is4()))
	}
	if r.Prefix.Addr().Is4() {
		msg.Scope = unix.RT_SCOPE_LINK
	}
	return attrs
}

// nextHop is a struct rtnexthop with its attributes.
func nextHop(hop NextHop, v4 bool) []byte {
	var attr []byte
	if hop.Gateway.IsValid() {
		attr = gatewayAttr(hop.Gateway, v4).Serialize()
	}
	b := binary.NativeEndian.AppendUint16(nil, uint16(unix.SizeofRtNexthop+len(attr)))
	flags := byte(0)
	if hop.OnLink {
		flags = unix.RTNH_F_ONLINK
	}
	b = append(b, flags, byte(max(hop.Weight, 1)-1))
	b = binary.NativeEndian.AppendUint32(b, uint32(hop.Index))
	return append(b, attr...)
}

// gatewayAttr is RTA_GATEWAY, or RTA_VIA when the gateway is of the other family.
func gatewayAttr(gateway netip.Addr, v4 bool) *vnl.RtAttr {
	gateway = gateway.WithZone("")
	if gateway.Is4() == v4 {
		return vnl.NewRtAttr(unix.RTA_GATEWAY, gateway.AsSlice())
	}
	via := binary.NativeEndian.AppendUint16(nil, uint16(family(gateway)))
	return vnl.NewRtAttr(unix.RTA_VIA, append(via, gateway.AsSlice()...))
}

// Toward returns the gateway and interface that the namespace sends packets for
// an address by; no gateway if it is on the link. No way is ErrNotFound.
func (h *Handle) Toward(addr netip.Addr) (gateway netip.Addr, index int, err error) {
	routes, err := h.lib.RouteGet(addr.AsSlice())
	if errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH) || err == nil && len(routes) == 0 {
		return netip.Addr{}, 0, fmt.Errorf("look up %s: %w", addr, ErrNotFound)
	}
	if err != nil {
		return netip.Addr{}, 0, wrap(err, "look up %s", addr)
	}
	r := fromRoute(routes[0])
	return r.Gateway, r.Index, nil
}
