// SPDX-License-Identifier: Apache-2.0

package bgp

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

const (
	openLimit = 10 * time.Second // how long we wait for an OPEN
	lastWords = time.Second      // to write a notification
	// sendLimit ends a session with a gateway that says that it is alive and reads
	// nothing (RFC 9687).
	sendLimit = 4 * time.Minute
)

// conn is a TCP connection with a gateway. The peer's loop owns it; a reader and
// a writer goroutine belong to it.
type conn struct {
	net.Conn
	outgoing bool
	state    State // OpenSent, OpenConfirm or Established
	open     remoteOpen
	hold     time.Duration // negotiated; 0 = none
	deadline time.Time     // of the hold timer
	alive    time.Time     // when the next KEEPALIVE is due
	before   counters      // when it was made

	done  chan struct{} // closed when it is dropped
	mu    sync.Mutex
	queue [][]byte
	last  bool // nothing may follow what is queued; then it is closed
	ready chan struct{}
}

// event is what a connection's goroutines tell the loop: a message, or why it
// ended.
type event struct {
	conn    *conn
	message *bgp.BGPMessage
	// malformed is what could be read of a message in spite of (RFC 7606).
	malformed *bgp.MessageError
	err       error
}

func (e event) keepalive() bool {
	return e.message != nil && e.message.Header.Type == bgp.BGP_MSG_KEEPALIVE
}

func newConn(c net.Conn, outgoing bool) *conn {
	return &conn{Conn: c, outgoing: outgoing, state: OpenSent, deadline: time.Now().Add(openLimit), before: readCounters(),
		done: make(chan struct{}), ready: make(chan struct{}, 1)}
}

// send queues a message; the loop never waits for the gateway to read.
func (c *conn) send(message *bgp.BGPMessage) error {
	data, err := message.Serialize(&bgp.MarshallingOption{Use2ByteAS: !c.open.fourByte})
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.last {
		c.queue = append(c.queue, data)
		c.signal()
	}
	return nil
}

func (c *conn) signal() {
	select {
	case c.ready <- struct{}{}:
	default:
	}
}

// drop ends the connection, after a last message if it is not nil.
func (c *conn) drop(message *bgp.BGPMessage) {
	close(c.done)
	if message == nil || c.send(message) != nil {
		_ = c.Close()
	}
	_ = c.SetReadDeadline(time.Now())
	c.mu.Lock()
	_ = c.SetWriteDeadline(time.Now().Add(lastWords))
	c.last = true
	c.signal()
	c.mu.Unlock()
}

// write writes what is queued, until the connection is dropped or fails.
func (c *conn) write(events chan<- event) {
	defer func() { _ = c.Close() }()
	for range c.ready {
		for {
			c.mu.Lock()
			queue, last := c.queue, c.last
			c.queue = nil
			if !last {
				_ = c.SetWriteDeadline(time.Now().Add(sendLimit))
			}
			c.mu.Unlock()
			if len(queue) == 0 {
				if last {
					c.linger()
					return
				}
				break
			}
			buffers := net.Buffers(queue)
			if _, err := buffers.WriteTo(c.Conn); err != nil {
				c.report(events, event{conn: c, err: fmt.Errorf("write to the gateway: %w", plain(err))})
				return
			}
		}
	}
}

// linger waits until the gateway has heard the last message and closes, too. A
// connection that is closed with something unread is reset, which takes the
// message away from the gateway; and BFD that ends at once may be heard first.
func (c *conn) linger() {
	tcp, ok := c.Conn.(*net.TCPConn)
	if !ok || tcp.CloseWrite() != nil || tcp.SetReadDeadline(time.Now().Add(lastWords)) != nil {
		return
	}
	_, _ = io.Copy(io.Discard, tcp)
}

func (c *conn) report(events chan<- event, e event) {
	select {
	case events <- e:
	case <-c.done:
	}
}

// read reads messages until the connection is dropped or fails.
func (c *conn) read(events chan<- event) {
	option := &bgp.MarshallingOption{}
	for {
		data, header, err := readMessage(c.Conn)
		if err != nil {
			c.report(events, event{conn: c, err: err})
			return
		}
		message, malformed, err := parse(header, data, option)
		if err != nil {
			c.report(events, event{conn: c, err: err})
			return
		}
		if open, ok := message.Body.(*bgp.BGPOpen); ok {
			option.Use2ByteAS = !readOpen(open).fourByte
		}
		c.report(events, event{conn: c, message: message, malformed: malformed})
		select {
		case <-c.done:
			return
		default:
		}
	}
}

// errClosed: the gateway has closed the connection without a notification.
var errClosed = errors.New("the gateway has closed the TCP connection")

func readMessage(r io.Reader) ([]byte, *bgp.BGPHeader, error) {
	data := make([]byte, bgp.BGP_HEADER_LENGTH)
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, nil, fmt.Errorf("read from the gateway: %w", plain(err))
	}
	header := &bgp.BGPHeader{}
	if err := header.DecodeFromBytes(data); err != nil {
		return nil, nil, err
	}
	if header.Len > bgp.BGP_MAX_MESSAGE_LENGTH {
		return nil, nil, bgp.NewMessageError(bgp.BGP_ERROR_MESSAGE_HEADER_ERROR, bgp.BGP_ERROR_SUB_BAD_MESSAGE_LENGTH, data[16:18], sprintf("a message of %d bytes", header.Len))
	}
	body := make([]byte, int(header.Len)-bgp.BGP_HEADER_LENGTH)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, nil, fmt.Errorf("read from the gateway: %w", plain(err))
	}
	return body, header, nil
}

// parse returns a message; with malformed, it is one whose prefixes are to be
// taken as withdrawn, or that had attributes that were left out. A parser that
// panics has found a malformed message, too.
func parse(header *bgp.BGPHeader, data []byte, option *bgp.MarshallingOption) (message *bgp.BGPMessage, malformed *bgp.MessageError, err error) {
	defer func() {
		if r := recover(); r != nil {
			message, malformed, err = nil, nil, bgp.NewMessageError(bgp.BGP_ERROR_UPDATE_MESSAGE_ERROR, bgp.BGP_ERROR_SUB_MALFORMED_ATTRIBUTE_LIST, nil, sprintf("unreadable message of type %d: %v", header.Type, r))
		}
	}()
	message, err = bgp.ParseBGPBody(header, data, option)
	if err == nil {
		return message, nil, nil
	}
	if !errors.As(err, &malformed) {
		return nil, nil, bgp.NewMessageError(bgp.BGP_ERROR_MESSAGE_HEADER_ERROR, bgp.BGP_ERROR_SUB_BAD_MESSAGE_TYPE, nil, err.Error())
	}
	soft := malformed.ErrorHandling == bgp.ERROR_HANDLING_TREAT_AS_WITHDRAW || malformed.ErrorHandling == bgp.ERROR_HANDLING_ATTRIBUTE_DISCARD
	if message == nil || message.Header.Type != bgp.BGP_MSG_UPDATE || !soft {
		return nil, nil, malformed
	}
	return message, malformed, nil
}

// plain takes addresses and the like from an error of the net package.
func plain(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errClosed
	}
	var call *net.OpError
	if errors.As(err, &call) {
		return call.Err
	}
	return err
}
