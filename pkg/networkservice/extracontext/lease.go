// SPDX-License-Identifier: Apache-2.0

package extracontext

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
)

// MaxLease is the longest lease: the kernel counts the lifetime of an address in
// seconds of 32 bits, of which the last value means for ever.
const MaxLease = (math.MaxUint32 - 1) * time.Second

// Lease returns for how long, counted from before the Request was sent, the
// client's interface may hold the addresses of conn; false when its endpoint
// grants no leases.
func Lease(conn *networkservice.Connection) (time.Duration, bool, error) {
	value, ok := get(conn, LeaseKey)
	if !ok {
		return 0, false, nil
	}
	seconds, err := strconv.ParseUint(value, 10, 32)
	if lease := time.Duration(seconds) * time.Second; err == nil && lease > 0 && lease <= MaxLease {
		return lease, true, nil
	}
	return 0, false, fmt.Errorf("extra context %s: %q is not a number of seconds from 1 to %d", LeaseKey, value, MaxLease/time.Second)
}

// SetLease writes a lease into conn, in whole seconds and never longer than it
// is, except that the shortest one is a second.
func SetLease(conn *networkservice.Connection, lease time.Duration) {
	lease = min(max(lease, time.Second), MaxLease)
	set(conn, LeaseKey, strconv.FormatInt(int64(lease/time.Second), 10))
}
