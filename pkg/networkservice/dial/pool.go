// SPDX-License-Identifier: Apache-2.0

package dial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"
)

// DefaultIdleTimeout is how long a connection without users stays open.
const DefaultIdleTimeout = 30 * time.Second

// Reconnect tries a lost peer often: it is on this node or a few hops away, and
// workloads wait for it. gRPC's own two minutes would outlast a restart by far.
var Reconnect = grpc.ConnectParams{
	Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
	MinConnectTimeout: 5 * time.Second,
}

// Pool shares gRPC connections by URL.
type Pool struct {
	options []grpc.DialOption
	timeout time.Duration
	idle    time.Duration

	mu     sync.Mutex
	closed bool
	conns  map[string]*Conn
}

// Option changes a Pool.
type Option func(*Pool)

// WithDialOptions sets the options of every connection: credentials above all.
func WithDialOptions(options ...grpc.DialOption) Option {
	return func(p *Pool) { p.options = append(p.options, options...) }
}

// WithTimeout bounds the wait for a connection; without it only the context of
// the call does.
func WithTimeout(timeout time.Duration) Option { return func(p *Pool) { p.timeout = timeout } }

// WithIdleTimeout replaces DefaultIdleTimeout.
func WithIdleTimeout(timeout time.Duration) Option { return func(p *Pool) { p.idle = timeout } }

// NewPool returns an empty pool. Close it after the last use.
func NewPool(options ...Option) *Pool {
	p := &Pool{idle: DefaultIdleTimeout, conns: make(map[string]*Conn)}
	for _, option := range options {
		option(p)
	}
	return p
}

// Conn is a shared connection. It is a grpc.ClientConnInterface.
type Conn struct {
	*grpc.ClientConn
	url    string
	pool   *Pool
	users  int         // guarded by pool.mu
	expiry *time.Timer // guarded by pool.mu; runs while users is 0

	mu     sync.Mutex
	err    error         // of the last attempt to connect
	begun  int           // attempts
	failed int           // number of the last attempt that failed
	tried  chan struct{} // closed and replaced when an attempt fails
}

// Invoke fails when the connection is lost, whatever the pool's options say about
// waiting: who wants to wait has done so in Get.
func (c *Conn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return c.ClientConn.Invoke(ctx, method, args, reply, append(opts, grpc.WaitForReady(false))...)
}

// NewStream fails when the connection is lost, as Invoke does.
func (c *Conn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return c.ClientConn.NewStream(ctx, desc, method, append(opts, grpc.WaitForReady(false))...)
}

// Get returns the connection to u when it is usable. Every Get is followed by one
// Release. A peer that refuses is an error at once, one that does not answer
// after the pool's timeout.
func (p *Pool) Get(ctx context.Context, u *url.URL) (*Conn, error) {
	c, err := p.acquire(u)
	if err != nil {
		return nil, err
	}
	if err := c.ready(ctx, p.timeout); err != nil {
		c.Release()
		return nil, err
	}
	return c, nil
}

func (p *Pool) acquire(u *url.URL) (*Conn, error) {
	key := u.String()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, status.Error(codes.Unavailable, "connection pool is closed")
	}
	if c := p.conns[key]; c != nil {
		c.users++
		if c.expiry != nil {
			c.expiry.Stop()
			c.expiry = nil
		}
		return c, nil
	}
	c := &Conn{url: key, pool: p, users: 1, tried: make(chan struct{})}
	target, dial, err := route(u)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	options := append(p.options[:len(p.options):len(p.options)],
		grpc.WithConnectParams(Reconnect),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			attempt := c.begin()
			conn, err := dial(ctx, address)
			c.end(attempt, err)
			return conn, err
		}))
	if c.ClientConn, err = grpc.NewClient(target, options...); err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "connect to %s: %v", key, err)
	}
	p.conns[key] = c
	return c, nil
}

type dialFunc func(ctx context.Context, address string) (net.Conn, error)

// route returns the gRPC target of u and the function that reaches it.
func route(u *url.URL) (string, dialFunc, error) {
	switch u.Scheme {
	case "unix":
		var dialer net.Dialer
		path := u.Path + u.Opaque
		// The name in the target is the authority that the peer sees.
		return "passthrough:///localhost", func(ctx context.Context, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", path)
		}, nil
	case "tcp":
		return "dns:///" + u.Host, TCP, nil
	}
	return "", nil, fmt.Errorf("connect to %s: scheme %q is neither unix nor tcp", u, u.Scheme)
}

// ready waits until the connection is established.
func (c *Conn) ready(ctx context.Context, timeout time.Duration) error {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	state := c.GetState()
	if state == connectivity.TransientFailure {
		// What failed for somebody else says nothing about now.
		c.retry(ctx)
		state = c.GetState()
	}
	for {
		switch state {
		case connectivity.Ready:
			return nil
		case connectivity.Idle:
			c.Connect()
		case connectivity.TransientFailure:
			return status.Errorf(codes.Unavailable, "connect to %s: %v", c.url, c.reason(errors.New("connection failed")))
		case connectivity.Shutdown:
			return status.Errorf(codes.Unavailable, "connect to %s: connection pool is closed", c.url)
		case connectivity.Connecting:
		}
		if ctx.Err() != nil || !c.WaitForStateChange(ctx, state) {
			return status.Errorf(codes.Unavailable, "connect to %s: %v", c.url, c.reason(ctx.Err()))
		}
		state = c.GetState()
	}
}

func (c *Conn) begin() (attempt int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begun++
	return c.begun
}

func (c *Conn) end(attempt int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
	if err != nil {
		c.failed = attempt
		close(c.tried)
		c.tried = make(chan struct{})
	}
}

// retry connects now and waits for the outcome. A connection that failed stays
// in state TransientFailure until an attempt succeeds, so that the end of one
// that fails has to be watched for itself; of one that began earlier it would
// be old news.
func (c *Conn) retry(ctx context.Context) {
	c.mu.Lock()
	earlier, tried := c.begun, c.tried
	c.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer cancel()
		for {
			select {
			case <-tried:
			case <-ctx.Done():
				return
			}
			c.mu.Lock()
			done := c.failed > earlier
			tried = c.tried
			c.mu.Unlock()
			if done {
				return
			}
		}
	}()
	c.ResetConnectBackoff()
	c.WaitForStateChange(ctx, connectivity.TransientFailure)
}

// reason returns why the last attempt failed, or otherwise.
func (c *Conn) reason(otherwise error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	return otherwise
}

// Release gives the connection back.
func (c *Conn) Release() {
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	if c.users--; c.users > 0 || c.pool.closed {
		return
	}
	c.expiry = time.AfterFunc(c.pool.idle, c.expire)
}

func (c *Conn) expire() {
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	if c.users > 0 || c.expiry == nil || c.pool.conns[c.url] != c {
		return // somebody took it in the meantime
	}
	delete(c.pool.conns, c.url)
	_ = c.Close()
}

// Close closes every connection, used or not.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for key, c := range p.conns {
		if c.expiry != nil {
			c.expiry.Stop()
		}
		delete(p.conns, key)
		_ = c.Close()
	}
}
