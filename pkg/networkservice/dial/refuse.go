// SPDX-License-Identifier: Apache-2.0

package dial

import (
	"context"
	"errors"
	"net"
	"net/url"
	"os"
	"syscall"
	"time"
)

// refuseTimeout bounds one look.
const refuseTimeout = 2 * time.Second

// Refuses reports whether nobody listens at u. A listener that does not answer is
// another matter.
func Refuses(ctx context.Context, u *url.URL) bool {
	dialer := net.Dialer{Timeout: refuseTimeout}
	address := u.Host
	if u.Scheme == "unix" {
		address = u.Path + u.Opaque
	}
	conn, err := dialer.DialContext(ctx, u.Scheme, address)
	if err == nil {
		_ = conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, os.ErrNotExist)
}
