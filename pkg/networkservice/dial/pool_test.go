// SPDX-License-Identifier: Apache-2.0

package dial_test

import (
	"context"
	"net/url"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"
)

func TestClosedPool(t *testing.T) {
	h := newHop(t, nil)
	pool := newPool(t)
	c, err := pool.Get(t.Context(), h.url)
	if err != nil {
		t.Fatal(err)
	}
	pool.Close()
	pool.Close()
	if c.GetState() != connectivity.Shutdown {
		t.Errorf("state %s after Close", c.GetState())
	}
	c.Release()
	if _, err := pool.Get(t.Context(), h.url); status.Code(err) != codes.Unavailable {
		t.Errorf("%v", err)
	}
}

func TestBadURL(t *testing.T) {
	pool := newPool(t)
	if _, err := pool.Get(t.Context(), &url.URL{Scheme: "http", Host: "x"}); status.Code(err) != codes.InvalidArgument ||
		!strings.Contains(err.Error(), `connect to http://x: scheme "http" is neither unix nor tcp`) {
		t.Errorf("%v", err)
	}
}

func TestGetEndsWithItsContext(t *testing.T) {
	h := newHop(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := newPool(t).Get(ctx, h.url)
	if status.Code(err) != codes.Unavailable {
		t.Errorf("%v", err)
	}
}
