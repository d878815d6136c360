// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"errors"
	"os"
	"slices"
	"syscall"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/weft-project/weft/internal/frontend"
	frontendv1 "github.com/weft-project/weft/pkg/api/frontend/v1"
)

// ErrNotRunning says that there is no process at the moment.
var ErrNotRunning = errors.New("the frontend's process does not run")

// Ask has the process itself say what it does.
func (p *Process) Ask(ctx context.Context) (config frontend.Config, status frontend.Status, err error) {
	p.mu.Lock()
	l := p.link
	p.mu.Unlock()
	if l == nil {
		return config, status, ErrNotRunning
	}
	is, err := l.Get(ctx, &frontendv1.GetRequest{})
	if err != nil {
		return config, status, err
	}
	if config, err = fromConfig(is.GetConfig()); err != nil {
		return config, status, err
	}
	status, err = fromStatus(is.GetStatus())
	return config, status, err
}

// Restart kills a process that does not answer and returns when the next one
// does what it did. Gateways keep its routes meanwhile.
func (p *Process) Restart(ctx context.Context) error {
	p.mu.Lock()
	old := p.link
	p.mu.Unlock()
	if old != nil {
		// Who follows it may have let it go by now.
		if err := syscall.Kill(old.process.Pid(), syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return os.NewSyscallError("kill", err)
		}
	}
	for {
		p.mu.Lock()
		l, changed, closed := p.link, p.changed, p.closed
		p.mu.Unlock()
		switch {
		case closed:
			return errors.New("restart frontend: closed")
		case l != nil && l != old:
			return nil
		}
		select {
		case <-changed:
		case <-time.After(firstPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Differences names what differs between two configurations. It tells no secrets.
func Differences(a, b frontend.Config) (what []string) {
	x, y := toConfig(a), toConfig(b)
	if !slices.Equal(x.GetVips(), y.GetVips()) {
		what = append(what, "VIPs")
	}
	if !slices.Equal(x.GetAnnounce(), y.GetAnnounce()) {
		what = append(what, "announced VIPs")
	}
	gateways := map[string][2]*frontendv1.GatewayConfig{}
	for i, m := range []*frontendv1.Config{x, y} {
		for _, g := range m.GetGateways() {
			pair := gateways[g.GetName()]
			pair[i] = g
			gateways[g.GetName()] = pair
		}
		m.Vips, m.Announce, m.Gateways = nil, nil, nil
	}
	for name, pair := range gateways {
		if !proto.Equal(pair[0], pair[1]) {
			what = append(what, "gateway "+name)
		}
	}
	if !proto.Equal(x, y) {
		what = append(what, "settings")
	}
	slices.Sort(what)
	return what
}
