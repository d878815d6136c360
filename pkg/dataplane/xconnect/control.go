// SPDX-License-Identifier: Apache-2.0

package xconnect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cilium/ebpf/ringbuf"
)

// ControlType is the type of a control frame.
type ControlType uint8

// The types of control frames, as in the program.
const (
	ControlProbe      = ControlType(xconnectControlTypeCONTROL_PROBE)       // answered by the program
	ControlProbeReply = ControlType(xconnectControlTypeCONTROL_PROBE_REPLY) // noted by the program
	ControlState      = ControlType(xconnectControlTypeCONTROL_STATE)
	ControlStateAck   = ControlType(xconnectControlTypeCONTROL_STATE_ACK)
)

// Control is a control frame (ControlState or ControlStateAck) of another node,
// in the VNI of a known tunnel.
type Control struct {
	Tunnel TunnelKey
	Type   ControlType
	Flags  uint8
	Nonce  uint64
}

// ErrWatched says that somebody watches the control frames already.
var ErrWatched = errors.New("control frames are watched already")

// controlWatch is the one reader of control frames.
type controlWatch struct {
	x      *XConnect
	reader *ringbuf.Reader
	done   chan struct{}
}

// WatchControl calls fn, from one goroutine, for every control frame that is
// meant for user space, until the Closer is closed; fn is not called after
// that. There can be one watch at a time.
func (x *XConnect) WatchControl(fn func(Control)) (io.Closer, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.watch != nil {
		return nil, fmt.Errorf("watch control frames: %w", ErrWatched)
	}
	reader, err := ringbuf.NewReader(x.objects.XcControl)
	if err != nil {
		return nil, fmt.Errorf("watch control frames: %w", err)
	}
	w := &controlWatch{x: x, reader: reader, done: make(chan struct{})}
	x.watch = w
	go func() {
		defer close(w.done)
		w.run(fn)
	}()
	return w, nil
}

func (w *controlWatch) run(fn func(Control)) {
	var record ringbuf.Record
	for w.reader.ReadInto(&record) == nil { // fails when closed, and then only
		var c xconnectControl
		if _, err := binary.Decode(record.RawSample, binary.NativeEndian, &c); err == nil {
			fn(Control{Tunnel: c.Key.fromMap(), Type: ControlType(c.Type), Flags: c.Flags, Nonce: c.Nonce})
		}
	}
}

// Close ends the watch. It must not be called by the watch's own function.
func (w *controlWatch) Close() error {
	w.x.mu.Lock()
	mine := w.x.watch == w
	if mine {
		w.x.watch = nil
	}
	w.x.mu.Unlock()
	if !mine {
		return nil
	}
	err := w.reader.Close()
	<-w.done
	return err
}
