// SPDX-License-Identifier: Apache-2.0

package bfdnet

import (
	cryptorand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/bfd"
)

const threadNamespace = "/proc/thread-self/ns/net"

// rounds bounds how much is read from a socket before timers have their turn: a
// flood must not keep us from sending.
const rounds = 8

// thread is the goroutine of everything. It keeps its OS thread, which ends with
// it, because of its namespace and priority.
func (s *Speaker) thread(started chan<- error) {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// Others look at the main thread for the process's namespace: hold it, so
		// that another one is taken.
		defer runtime.UnlockOSThread()
		go s.thread(started)
		<-s.done
		return
	}
	defer close(s.done)
	err := s.enter()
	if err != nil {
		started <- err
		return
	}
	scheduled := prefer(0, threadPriority)
	s.mu.Lock()
	s.scheduled = scheduled
	s.mu.Unlock()
	s.options.Log.Debug("BFD runs", "scheduling", scheduled)
	started <- nil
	s.loop()
}

func (s *Speaker) enter() error {
	defer func() { _ = s.ns.Close() }()
	var want, have unix.Stat_t
	if err := errors.Join(unix.Fstat(int(s.ns.Fd()), &want), unix.Stat(threadNamespace, &have)); err != nil {
		return fmt.Errorf("BFD: look at namespace: %w", err)
	}
	if want.Ino == have.Ino && want.Dev == have.Dev {
		return nil
	}
	if err := unix.Setns(int(s.ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("BFD: enter namespace: %w", err)
	}
	return nil
}

// loop waits, and does what is to be done, until end has closed the sockets.
func (s *Speaker) loop() {
	polled := make([]unix.PollFd, 0, listeners+1)
	for {
		s.mu.Lock()
		polled = append(polled[:0], unix.PollFd{Fd: int32(s.wake), Events: unix.POLLIN})
		for _, l := range s.listeners {
			if l != nil {
				polled = append(polled, unix.PollFd{Fd: int32(l.fd), Events: unix.POLLIN})
			}
		}
		wait := s.untilDeadline(time.Now())
		due := s.due
		s.mu.Unlock()
		if _, err := unix.Ppoll(polled, wait, nil); err != nil && !errors.Is(err, unix.EINTR) {
			s.options.Log.Error("BFD cannot wait for packets", "err", os.NewSyscallError("ppoll", err))
			time.Sleep(bfd.MinInterval) // sending goes on
		}
		s.mu.Lock()
		woke := time.Now()
		s.receive()
		s.stood(due, woke)
		s.timers(woke)
		ended := s.command()
		events := s.events
		s.mu.Unlock()
		for _, event := range events {
			s.tell(event)
		}
		s.mu.Lock()
		s.events = s.events[:0]
		s.mu.Unlock()
		if ended {
			return
		}
	}
}

// untilDeadline is how long nothing is to be done; nil: for ever.
func (s *Speaker) untilDeadline(now time.Time) *unix.Timespec {
	var next time.Time
	earlier := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	for _, session := range s.sessions {
		earlier(session.deadline(now))
	}
	for _, session := range s.leaving {
		earlier(session.deadline(now))
		earlier(session.until)
	}
	s.due = next
	if next.IsZero() {
		return nil
	}
	s.timeout = unix.NsecToTimespec(int64(max(0, next.Sub(now))))
	return &s.timeout
}

func (s *session) deadline(now time.Time) time.Time {
	if s.sender == nil {
		return s.retryAt
	}
	return s.machine.Deadline(now)
}

// receive takes all that has arrived. A packet counts from its arrival, so that
// our own delay is no loss; what is older than the last time nothing was left is
// an error of the wall clock.
func (s *Speaker) receive() {
	for _, l := range s.listeners {
		if l == nil {
			continue
		}
		for range rounds {
			now := time.Now()
			n, err := l.read()
			for i := range n {
				s.take(l, i, now)
			}
			s.failed(l, err)
			if err != nil || n < batch {
				l.drained = now
				break
			}
		}
	}
}

func (s *Speaker) take(l *listener, i int, now time.Time) {
	about := l.about(i)
	at := now
	if !about.at.IsZero() {
		age := min(max(0, now.Round(0).Sub(about.at)), now.Sub(l.drained))
		at = now.Add(-age)
		s.delays.OldestPacket = max(s.delays.OldestPacket, age)
	}
	if !l.multihop && about.ttl != ttl {
		s.table.Discarded[bfd.WrongTTL]++
		return
	}
	machine, _ := s.table.Receive(l.packet(i), about.path, at)
	if machine == nil {
		return
	}
	for _, session := range s.sessions {
		if session.machine == machine {
			s.service(session, now)
			return
		}
	}
}

// failed logs an error of a socket that is not of waiting, and once.
func (s *Speaker) failed(l *listener, err error) {
	if err == nil || errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) || errors.Is(err, l.problem) {
		return
	}
	l.problem = err
	s.options.Log.Error("BFD cannot receive", "multihop", l.multihop, "err", os.NewSyscallError("recvmmsg", err))
}

// timers does what is due. What arrived until woke has been read, so that only
// what has expired by then has; what is to be sent is due now.
func (s *Speaker) timers(woke time.Time) {
	now := time.Now()
	for _, session := range s.sessions {
		if session.machine.Expire(woke) {
			s.blame(session, now)
		}
		s.service(session, now)
	}
	for i := len(s.leaving) - 1; i >= 0; i-- {
		s.send(s.leaving[i], now)
		if !now.Before(s.leaving[i].until) {
			s.forget(i)
		}
	}
}

// service sends what is due and notes a change of state.
func (s *Speaker) service(session *session, now time.Time) {
	if state := session.machine.State(); state != session.told {
		session.told = state
		if state == bfd.Up {
			session.blame = ""
		}
		s.events = append(s.events, session.status())
	}
	s.send(session, now)
}

func (s *Speaker) send(session *session, now time.Time) {
	if session.sender == nil && !now.Before(session.retryAt) {
		session.open(now)
		if session.sender != nil {
			if err := s.table.Move(session.machine, session.path()); err != nil {
				session.problem = err.Error()
			}
		}
	}
	if session.sender == nil {
		return
	}
	for {
		packet := session.machine.Transmit(s.sendBuf[:0], now)
		if packet == nil {
			return
		}
		err := session.sender.send(packet)
		if err == nil {
			session.problem = ""
			continue
		}
		session.problem = err.Error()
		if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.EINVAL) {
			session.close() // the interface is another one by now, or will be
			session.retryAt = now.Add(retry)
			return
		}
	}
}

// command runs what Set or Close wants, and tells whether it was the last.
func (s *Speaker) command() (ended bool) {
	var ignored [8]byte
	_, _ = unix.Read(s.wake, ignored[:])
	select {
	case command := <-s.commands:
		s.answers <- command()
		return s.ended
	default:
		return false
	}
}

func random() uint64 {
	var b [8]byte
	_, _ = cryptorand.Read(b[:]) // never fails
	return binary.NativeEndian.Uint64(b[:])
}
