// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
)

// Reply is what a server tells about a request.
type Reply struct {
	Server  string         // name the server was started with
	Peer    netip.AddrPort // source address of the request as the server saw it
	Request []byte         // the request itself (UDP) or empty (TCP greeting)
}

// The wire form is "<server> <peer>\n<request>": readable in a capture.
func (r Reply) marshal() []byte {
	head := r.Server + " " + r.Peer.String() + "\n"
	return append([]byte(head), r.Request...)
}

func parseReply(b []byte) (Reply, error) {
	head, rest, ok := bytes.Cut(b, []byte("\n"))
	if !ok {
		return Reply{}, fmt.Errorf("reply of %d bytes has no head line", len(b))
	}
	server, peer, ok := strings.Cut(string(head), " ")
	if !ok {
		return Reply{}, fmt.Errorf("reply head %q has no peer", head)
	}
	addr, err := netip.ParseAddrPort(peer)
	if err != nil {
		return Reply{}, fmt.Errorf("reply head %q: %w", head, err)
	}
	return Reply{Server: server, Peer: addr, Request: rest}, nil
}

func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
