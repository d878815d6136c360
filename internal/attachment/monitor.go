// SPDX-License-Identifier: Apache-2.0

package attachment

import "context"

// monitor watches a leg's connection from its first success on.
type monitor struct {
	// again says that the connection has been requested anew.
	again chan struct{}
	done  chan struct{}
}

func (l *leg) monitor(ctx context.Context) *monitor {
	w := &monitor{again: make(chan struct{}, 1), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		for {
			select {
			case <-ctx.Done():
				return
			case <-w.again:
			}
			l.m.mu.Lock()
			connection, standing := l.connection, l.standing
			l.m.mu.Unlock()
			if !standing {
				continue
			}
			if err := l.m.Mesh.Monitor(ctx, connection); ctx.Err() == nil {
				l.monitored(err)
			}
		}
	}()
	return w
}

// poke restarts a monitor that has said its word.
func (w *monitor) poke() {
	select {
	case w.again <- struct{}{}:
	default:
	}
}
