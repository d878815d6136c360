// SPDX-License-Identifier: Apache-2.0

package tunnelmech

import (
	"fmt"
	"net/netip"
	"strconv"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/cls"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/common"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/vxlan"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/wireguard"
)

// Parameters beyond NSM's.
const (
	srcWeft = "src_weft" // "1": the client's forwarder is Weft's
	dstWeft = "dst_weft" // "1": the endpoint's is
)

const (
	maxVNI = 1<<24 - 1
	// controlVNI carries the forwarders' own frames.
	controlVNI = 0xff_fffe
)

// params are the parameters of a remote mechanism.
type params struct {
	kind     string // vxlan.MECHANISM or wireguard.MECHANISM
	src, dst end
	vni      uint32 // 0: none yet
}

// end is what one node says of itself.
type end struct {
	addr netip.Addr
	port uint16 // 0: the mechanism's default
	key  string // WireGuard
	weft bool
}

func isRemote(kind string) bool { return kind == vxlan.MECHANISM || kind == wireguard.MECHANISM }

// parse reads a mechanism; what is missing is zero.
func parse(m *networkservice.Mechanism) (*params, error) {
	p := &params{kind: m.GetType()}
	values := m.GetParameters()
	var err error
	read := func(name string, parse func(string) error) {
		if text := values[name]; text != "" && err == nil {
			if problem := parse(text); problem != nil {
				err = fmt.Errorf("mechanism parameter %s %q: %w", name, text, problem)
			}
		}
	}
	for _, e := range []struct {
		to                    *end
		ip, port, key, isWeft string
	}{
		{&p.src, common.SrcIP, common.SrcPort, wireguard.SrcPublicKey, srcWeft},
		{&p.dst, common.DstIP, common.DstPort, wireguard.DstPublicKey, dstWeft},
	} {
		read(e.ip, func(text string) (err error) {
			e.to.addr, err = netip.ParseAddr(text)
			e.to.addr = e.to.addr.Unmap()
			if err == nil && (e.to.addr.IsUnspecified() || e.to.addr.IsMulticast()) {
				return fmt.Errorf("is no address of a node")
			}
			return err
		})
		read(e.port, func(text string) error {
			port, err := strconv.ParseUint(text, 10, 16)
			e.to.port = uint16(port)
			return err
		})
		e.to.key = values[e.key]
		e.to.weft = values[e.isWeft] == "1"
	}
	read(vxlan.VNI, func(text string) error {
		vni, err := strconv.ParseUint(text, 10, 32)
		if err == nil && (vni == 0 || vni > maxVNI || vni == controlVNI) {
			return fmt.Errorf("want 1 to %d, but not %d", maxVNI, controlVNI)
		}
		p.vni = uint32(vni)
		return err
	})
	return p, err
}

// mechanism writes the parameters.
func (p *params) mechanism() *networkservice.Mechanism {
	values := map[string]string{}
	for _, e := range []struct {
		end
		ip, port, public, isWeft string
	}{
		{p.src, common.SrcIP, common.SrcPort, wireguard.SrcPublicKey, srcWeft},
		{p.dst, common.DstIP, common.DstPort, wireguard.DstPublicKey, dstWeft},
	} {
		if !e.addr.IsValid() {
			continue
		}
		values[e.ip] = e.addr.String()
		if e.end.port != 0 {
			values[e.port] = strconv.Itoa(int(e.end.port))
		}
		if e.key != "" {
			values[e.public] = e.key
		}
		if e.weft {
			values[e.isWeft] = "1"
		}
	}
	if p.vni != 0 {
		values[vxlan.VNI] = strconv.FormatUint(uint64(p.vni), 10)
	}
	return &networkservice.Mechanism{Cls: cls.REMOTE, Type: p.kind, Parameters: values}
}
