// SPDX-License-Identifier: Apache-2.0

package weft

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/weft-project/weft/internal/packet"
	balancerv1 "github.com/weft-project/weft/pkg/api/balancer/v1"
)

// maxCaptured bounds the packets of a capture that are traced.
const maxCaptured = 100_000

// captured is one packet of a capture.
type captured struct {
	number int // in the file, from 1
	frame  []byte
	cut    bool // the capture has not all of it
}

// packetSource is what readers of both formats have in common.
type packetSource interface {
	ReadPacketData() ([]byte, gopacket.CaptureInfo, error)
}

// readCapture reads a pcap or pcapng file; "-" is standard input. Packets without
// a link layer get one, as the replica's interface would see it; with set, all
// get the interface's MAC as destination.
func (a *app) readCapture(path string, r *balancerv1.Replica, set bool) ([]captured, error) {
	in := a.env.Stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }() // only read from
		in = f
	}
	source, link, err := openCapture(in)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var list []captured
	for n := 1; ; n++ {
		data, info, err := source.ReadPacketData()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err == nil && n > maxCaptured {
			err = fmt.Errorf("more than %d packets; cut it with tcpdump -r or editcap", maxCaptured)
		}
		var frame []byte
		if err == nil {
			frame, err = toFrame(link(info), data, r, set)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: packet %d: %w", path, n, err)
		}
		list = append(list, captured{number: n, frame: frame, cut: info.CaptureLength < info.Length})
	}
}

// pcapngMagic begins a pcapng file: the type of a section header block.
const pcapngMagic = "\x0a\x0d\x0d\x0a"

func openCapture(in io.Reader) (packetSource, func(gopacket.CaptureInfo) layers.LinkType, error) {
	buffered := bufio.NewReader(in)
	magic, err := buffered.Peek(len(pcapngMagic))
	if err != nil {
		return nil, nil, errors.New("too short for a capture")
	}
	if string(magic) == pcapngMagic {
		r, err := pcapgo.NewNgReader(buffered, pcapgo.NgReaderOptions{WantMixedLinkType: true})
		if err != nil {
			return nil, nil, fmt.Errorf("read pcapng: %w", err)
		}
		return r, func(info gopacket.CaptureInfo) layers.LinkType {
			if len(info.AncillaryData) > 0 {
				if link, ok := info.AncillaryData[0].(layers.LinkType); ok {
					return link
				}
			}
			return r.LinkType()
		}, nil
	}
	r, err := pcapgo.NewReader(buffered)
	if err != nil {
		return nil, nil, fmt.Errorf("neither pcap nor pcapng: %w", err)
	}
	return r, func(gopacket.CaptureInfo) layers.LinkType { return r.LinkType() }, nil
}

// rawOld is what LINKTYPE_RAW is called in files of some systems (DLT_RAW).
const rawOld = layers.LinkType(12)

func toFrame(link layers.LinkType, data []byte, r *balancerv1.Replica, set bool) ([]byte, error) {
	eth := packet.Ethernet{Src: sender}
	copy(eth.Dst[:], r.GetMac())
	if r.GetVlan() > 0 {
		eth.Tags = []packet.Tag{{TCI: uint16(r.GetVlan())}}
	}
	switch link {
	case layers.LinkTypeEthernet:
		if len(data) < 14 {
			return nil, fmt.Errorf("%d bytes are no Ethernet frame", len(data))
		}
		if set {
			copy(data, eth.Dst[:])
		}
		return data, nil
	case layers.LinkTypeRaw, layers.LinkTypeIPv4, layers.LinkTypeIPv6, rawOld:
		if len(data) > 0 && data[0]>>4 == 6 {
			return eth.Frame(packet.EtherIPv6, data), nil
		}
		return eth.Frame(packet.EtherIPv4, data), nil
	}
	return nil, fmt.Errorf("link type %s is neither Ethernet nor raw IP", link)
}
