// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"errors"
	"net/netip"
	"time"
)

// Reason is why a VIP is announced or not, in one word.
type Reason string

// The reasons.
const (
	Announced     Reason = "Announced"
	Probing       Reason = "Probing"
	NoTarget      Reason = "NoTarget"
	NoFlow        Reason = "NoFlow"
	NoGateway     Reason = "NoGateway"
	ProbeFailed   Reason = "ProbeFailed"
	DataPathDown  Reason = "DataPathDown"
	InterfaceDown Reason = "InterfaceDown"
	Draining      Reason = "Draining"
	TakingOver    Reason = "TakingOver"
)

// Decision is what is decided about a VIP.
type Decision struct {
	VIP       netip.Prefix
	Announced bool
	Reason    Reason
	Message   string
	Since     time.Time // of Announced
}

// vip is a VIP and what was found out about it.
type vip struct {
	Decision
	tested   bool // by a probe since it was last plainly impossible
	failures int  // of probes, in a row
	needed   int  // probes that have to get through before it is announced
	probed   time.Time
}

// Numbers of probes in a row.
const (
	withdrawAfter = 2
	recoverAfter  = 3
)

// set changes the decision and says whether that is news.
func (v *vip) set(announced bool, reason Reason, message string, now time.Time) bool {
	d := Decision{v.VIP, announced, reason, message, v.Since}
	if announced != v.Announced || v.Since.IsZero() {
		d.Since = now
	}
	news := d != v.Decision
	v.Decision = d
	return news
}

// impossible withdraws the VIP for a reason that needs no probe.
func (v *vip) impossible(reason Reason, message string, now time.Time) bool {
	v.tested, v.failures, v.needed = false, 0, 0
	return v.set(false, reason, message, now)
}

// result takes the outcome of a probe.
func (v *vip) result(err error, now time.Time) bool {
	v.tested, v.probed = true, now
	if err != nil {
		v.failures++
		if v.Announced && v.failures < withdrawAfter {
			return false
		}
		if v.Announced {
			v.needed = recoverAfter
		} else if v.needed > 0 {
			v.needed = recoverAfter // begin again
		}
		reason := ProbeFailed
		if errors.Is(err, ErrDataPath) {
			reason = DataPathDown
		}
		return v.set(false, reason, err.Error(), now)
	}
	v.failures = 0
	if v.needed--; v.needed > 0 {
		return v.set(false, Probing, "a probe got through again; waiting for more", now)
	}
	v.needed = 0
	return v.set(true, Announced, "", now)
}

// due returns when to probe next.
func (v *vip) due(interval time.Duration) time.Time {
	switch {
	case !v.tested:
		return time.Time{}
	case v.Announced && v.failures > 0:
		return v.probed.Add(interval / 5)
	}
	return v.probed.Add(interval)
}
