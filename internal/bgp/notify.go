// SPDX-License-Identifier: Apache-2.0

package bgp

import (
	"encoding/binary"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

func sprintf(format string, args ...any) string { return fmt.Sprintf(format, args...) }

// collision is the cease of a connection that is one too many (RFC 4486).
const collision = bgp.BGP_ERROR_SUB_CONNECTION_COLLISION_RESOLUTION

func cease(subcode uint8) *bgp.BGPMessage {
	return bgp.NewBGPNotificationMessage(bgp.BGP_ERROR_CEASE, subcode, nil)
}

func isCollision(n *bgp.BGPNotification) bool {
	return n.ErrorCode == bgp.BGP_ERROR_CEASE && n.ErrorSubcode == collision
}

// explain says in words what the gateway's notification means.
func (t target) explain(n *bgp.BGPNotification) string {
	return "the gateway says: " + t.words(n)
}

func (t target) words(n *bgp.BGPNotification) string {
	switch n.ErrorCode {
	case bgp.BGP_ERROR_OPEN_MESSAGE_ERROR:
		return t.openWords(n)
	case bgp.BGP_ERROR_HOLD_TIMER_EXPIRED:
		return "hold timer expired (it has not heard from us in time)"
	case bgp.BGP_ERROR_CEASE:
		return ceaseWords(n)
	case bgp.BGP_ERROR_MESSAGE_HEADER_ERROR:
		return sprintf("message header error (code 1, subcode %d)", n.ErrorSubcode)
	case bgp.BGP_ERROR_UPDATE_MESSAGE_ERROR:
		return sprintf("update message error (code 3, subcode %d)", n.ErrorSubcode)
	case bgp.BGP_ERROR_FSM_ERROR:
		return sprintf("message in the wrong state (code 5, subcode %d)", n.ErrorSubcode)
	}
	return sprintf("error of code %d, subcode %d", n.ErrorCode, n.ErrorSubcode)
}

func (t target) openWords(n *bgp.BGPNotification) string {
	switch n.ErrorSubcode {
	case bgp.BGP_ERROR_SUB_UNSUPPORTED_VERSION_NUMBER:
		return "unsupported BGP version (ours is 4)"
	case bgp.BGP_ERROR_SUB_BAD_PEER_AS:
		return sprintf("bad peer AS (ours is %d)", t.LocalASN)
	case bgp.BGP_ERROR_SUB_BAD_BGP_IDENTIFIER:
		return sprintf("bad router id (ours is %v)", t.routerID)
	case bgp.BGP_ERROR_SUB_UNSUPPORTED_OPTIONAL_PARAMETER:
		return "unsupported optional parameter"
	case bgp.BGP_ERROR_SUB_UNACCEPTABLE_HOLD_TIME:
		return sprintf("unacceptable hold time (ours is %v)", t.HoldTime)
	case bgp.BGP_ERROR_SUB_UNSUPPORTED_CAPABILITY:
		return "unsupported capability" + capabilityWords(n.Data)
	}
	return sprintf("open message error (code 2, subcode %d)", n.ErrorSubcode)
}

// capabilityWords names the first capability that the gateway misses.
func capabilityWords(data []byte) string {
	if len(data) < 2 {
		return ""
	}
	code := bgp.BGPCapabilityCode(data[0])
	if code == bgp.BGP_CAP_MULTIPROTOCOL && len(data) >= 6 {
		switch binary.BigEndian.Uint16(data[2:]) {
		case bgp.AFI_IP:
			return " (it wants IPv4 on this session)"
		case bgp.AFI_IP6:
			return " (it wants IPv6 on this session)"
		}
	}
	return sprintf(" (%v)", code)
}

var ceaseNames = map[uint8]string{
	bgp.BGP_ERROR_SUB_MAXIMUM_NUMBER_OF_PREFIXES_REACHED: "maximum number of prefixes reached",
	bgp.BGP_ERROR_SUB_ADMINISTRATIVE_SHUTDOWN:            "administrative shutdown",
	bgp.BGP_ERROR_SUB_PEER_DECONFIGURED:                  "peer deconfigured",
	bgp.BGP_ERROR_SUB_ADMINISTRATIVE_RESET:               "administrative reset",
	bgp.BGP_ERROR_SUB_CONNECTION_REJECTED:                "connection rejected (it may not know us, or wait before it connects again)",
	bgp.BGP_ERROR_SUB_OTHER_CONFIGURATION_CHANGE:         "configuration change",
	bgp.BGP_ERROR_SUB_CONNECTION_COLLISION_RESOLUTION:    "connection collision resolution",
	bgp.BGP_ERROR_SUB_OUT_OF_RESOURCES:                   "out of resources",
	bgp.BGP_ERROR_SUB_HARD_RESET:                         "hard reset",
	10:                                                   "BFD is down", // RFC 9384
}

func ceaseWords(n *bgp.BGPNotification) string {
	words := ceaseNames[n.ErrorSubcode]
	if words == "" {
		return sprintf("cease (code 6, subcode %d)", n.ErrorSubcode)
	}
	if n.ErrorSubcode != bgp.BGP_ERROR_SUB_ADMINISTRATIVE_SHUTDOWN && n.ErrorSubcode != bgp.BGP_ERROR_SUB_ADMINISTRATIVE_RESET {
		return words
	}
	if text := communication(n.Data); text != "" {
		words += sprintf(" (%q)", text)
	}
	return words
}

// communication is the text of an operator (RFC 9003), made harmless.
func communication(data []byte) string {
	if len(data) == 0 || int(data[0]) > len(data)-1 {
		return ""
	}
	text := data[1 : 1+int(data[0])]
	if !utf8.Valid(text) {
		return ""
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, string(text))
}
