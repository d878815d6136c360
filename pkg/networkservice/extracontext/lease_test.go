// SPDX-License-Identifier: Apache-2.0

package extracontext_test

import (
	"testing"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/weft-project/weft/pkg/networkservice/extracontext"
)

func TestLease(t *testing.T) {
	conn := &networkservice.Connection{}
	if _, ok, err := extracontext.Lease(conn); ok || err != nil {
		t.Errorf("a lease without one: %v, %v", ok, err)
	}
	for lease, want := range map[time.Duration]time.Duration{
		10*time.Minute + 900*time.Millisecond: 10 * time.Minute,
		time.Millisecond:                      time.Second,
		1<<63 - 1:                             extracontext.MaxLease,
	} {
		extracontext.SetLease(conn, lease)
		if got, ok, err := extracontext.Lease(conn); got != want || !ok || err != nil {
			t.Errorf("lease of %s: %s, %v, %v", lease, got, ok, err)
		}
	}
	for _, value := range []string{"", "0", "-1", "1.5", "4294967295", "10s"} {
		conn.Context.ExtraContext[extracontext.LeaseKey] = value
		want := `extra context weft.dev/lease: "` + value + `" is not a number of seconds from 1 to 4294967294`
		if _, ok, err := extracontext.Lease(conn); ok || errText(err) != want {
			t.Errorf("lease %q: %v, %v", value, ok, err)
		}
	}
}
