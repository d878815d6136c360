// SPDX-License-Identifier: Apache-2.0

package bgp_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"github.com/weft-project/weft/internal/bgp"
	"github.com/weft-project/weft/internal/testutil"
)

// rawGateway listens for the speaker and says what a test wants.
type rawGateway struct {
	t *testing.T
	l net.Listener
}

func serve(t *testing.T, ns string) *rawGateway {
	return &rawGateway{t, testutil.Listen(t, ns, "tcp", "192.0.2.2:179")}
}

// open accepts a connection and exchanges OPENs; with keepalive, the session
// is established.
func (r *rawGateway) open(keepalive bool) net.Conn {
	r.t.Helper()
	c, err := r.l.Accept()
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	capabilities := []packet.ParameterCapabilityInterface{packet.NewCapMultiProtocol(packet.RF_IPv4_UC), packet.NewCapFourOctetASNumber(65001)}
	open, err := packet.NewBGPOpenMessage(65001, 90, netip.MustParseAddr("192.0.2.2"),
		[]packet.OptionParameterInterface{packet.NewOptionParameterCapability(capabilities)})
	if err != nil {
		r.t.Fatal(err)
	}
	r.send(c, open)
	if keepalive {
		r.send(c, packet.NewBGPKeepAliveMessage())
	}
	return c
}

func (r *rawGateway) send(c net.Conn, message *packet.BGPMessage) {
	r.t.Helper()
	data, err := message.Serialize()
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := c.Write(data); err != nil {
		r.t.Fatal(err)
	}
}

// Random bytes after a valid OPEN, with and without a valid header, never end the
// speaker; the reason is told, and a sane gateway gets its session.
func TestMalformed(t *testing.T) {
	testutil.CheckLeaks(t)
	ns := wire(t)
	gw := serve(t, ns)
	s := start(t, false, bgp.Config{Peers: []bgp.Peer{gateway("g", gateway4)}, Announce: vips})
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range 3 {
		c := gw.open(true)
		s.established("g")
		data := make([]byte, 64)
		for j := range data {
			data[j] = byte(random.Uint32())
		}
		switch i {
		case 1: // an UPDATE of nonsense
			copy(data, bytes.Repeat([]byte{0xff}, 16))
			data[16], data[17], data[18] = 0, 64, packet.BGP_MSG_UPDATE
			data[19], data[20] = 0xff, 0xff // withdrawn routes longer than the message
		case 2: // too long
			copy(data, bytes.Repeat([]byte{0xff}, 16))
			data[16], data[17], data[18] = 0x20, 0, packet.BGP_MSG_UPDATE
		}
		if _, err := c.Write(data); err != nil {
			t.Fatal(err)
		}
		s.lastError("g", "malformed message")
		s.until("down", func() bool { return s.peer("g").State != bgp.Established })
		t.Log(s.peer("g").LastError)
		_ = c.SetReadDeadline(time.Now().Add(limit))
		if _, err := io.Copy(io.Discard, c); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("the connection was not closed: %v", err)
		}
		_ = c.Close()
	}
	c := gw.open(true)
	defer c.Close()
	s.established("g")
}

// Only prefixes that packets are sent to, and that are not ours, are taken; a
// path whose attributes are broken is treated as withdrawn (RFC 7606).
func TestRefused(t *testing.T) {
	testutil.CheckLeaks(t)
	ns := wire(t)
	gw := serve(t, ns)
	s := start(t, false, bgp.Config{Peers: []bgp.Peer{gateway("g", gateway4)}, Announce: prefixes("198.51.100.0/30")})
	c := gw.open(true)
	defer c.Close()
	s.established("g")
	send := func(hop string, as uint32, texts ...string) {
		t.Helper()
		var list []packet.PathNLRI
		for _, prefix := range prefixes(texts...) {
			nlri, err := packet.NewIPAddrPrefix(prefix)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, packet.PathNLRI{NLRI: nlri})
		}
		next, err := packet.NewPathAttributeNextHop(netip.MustParseAddr(hop))
		if err != nil {
			t.Fatal(err)
		}
		attributes := []packet.PathAttributeInterface{packet.NewPathAttributeOrigin(0), next}
		if as != 0 {
			attributes = append(attributes, packet.NewPathAttributeAsPath([]packet.AsPathParamInterface{packet.NewAs4PathParam(packet.BGP_ASPATH_ATTR_TYPE_SEQ, []uint32{as})}))
		}
		gw.send(c, packet.NewBGPUpdateMessage(nil, attributes, list))
	}
	send("192.0.2.2", 65001, "0.0.0.0/0", "203.0.113.0/24", "198.51.100.0/24")
	send("192.0.2.2", 65001, "198.51.100.0/30", "198.51.100.1/32", "127.0.0.0/8", "224.0.0.0/4", "169.254.1.0/24", "10.0.0.0/8")
	send("192.0.2.2", 64512, "10.1.0.0/16")
	send("192.0.2.1", 65001, "10.2.0.0/16")
	send("127.0.0.1", 65001, "10.3.0.0/16")
	send("192.0.2.2", 0, "203.0.113.0/24")
	s.until("all is judged", func() bool { return s.peer("g").UpdatesSeen == 6 })
	var taken []string
	for _, route := range s.Routes() {
		taken = append(taken, route.Prefix.String())
	}
	if want := []string{"0.0.0.0/0", "10.0.0.0/8", "198.51.100.0/24"}; !slices.Equal(taken, want) {
		t.Errorf("taken: %v, want %v; refused: %s", taken, want, s.peer("g").Refusal)
	}
	status := s.peer("g")
	for _, words := range []string{"ours", "packets are sent to", "own AS", "next hop is our own", "malformed or missing"} {
		if !strings.Contains(status.Refusal, words) {
			t.Errorf("refusal %q does not tell of %q", status.Refusal, words)
		}
	}
	if status.Received != 12 || status.Refused != 9 || status.State != bgp.Established {
		t.Errorf("status %+v", status)
	}
	config := s.config
	config.Announce = nil
	s.set(config)
	if !s.hasRoute("198.51.100.1/32", gateway4) {
		t.Errorf("what is no longer ours is not taken: %v", s.Routes())
	}
}
