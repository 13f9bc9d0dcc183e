package keeper

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// loop waits for many descriptors with one goroutine. Each is told once and
// must then be armed again.
type loop struct {
	ep   int
	wake int // eventfd: ends run
	over chan struct{}

	mu    sync.Mutex // guards ready
	ready map[int]func()
}

func newLoop() (*loop, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make loop: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(ep)
		return nil, fmt.Errorf("make loop: %w", err)
	}
	l := &loop{ep: ep, wake: wake, over: make(chan struct{}, 1), ready: map[int]func(){}}
	if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, wake, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(wake)}); err != nil {
		l.close()
		return nil, fmt.Errorf("make loop: %w", err)
	}
	return l, nil
}

// add arms a descriptor: ready is called once, from the loop, and must not wait.
func (l *loop) add(fd int, ready func()) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ready[fd] = ready
	if err := unix.EpollCtl(l.ep, unix.EPOLL_CTL_ADD, fd, oneShot(fd)); err != nil {
		delete(l.ready, fd)
		return fmt.Errorf("watch descriptor: %w", err)
	}
	return nil
}

// again arms a descriptor that was told; one that was removed stays so.
func (l *loop) again(fd int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ready[fd] != nil {
		_ = unix.EpollCtl(l.ep, unix.EPOLL_CTL_MOD, fd, oneShot(fd))
	}
}

// remove disarms a descriptor. Closing it is not enough: the daemon holds a copy
// of the same open file, and epoll watches open files.
func (l *loop) remove(fd int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ready[fd] != nil {
		delete(l.ready, fd)
		_ = unix.EpollCtl(l.ep, unix.EPOLL_CTL_DEL, fd, nil)
	}
}

func oneShot(fd int) *unix.EpollEvent {
	return &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: int32(fd)}
}

// run waits until stop is called.
func (l *loop) run() error {
	defer func() { l.over <- struct{}{} }()
	events := make([]unix.EpollEvent, 64)
	for {
		n, err := unix.EpollWait(l.ep, events, -1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait for descriptors: %w", err)
		}
		for _, e := range events[:n] {
			if int(e.Fd) == l.wake {
				var b [8]byte
				_, _ = unix.Read(l.wake, b[:])
				return nil
			}
			l.mu.Lock()
			ready := l.ready[int(e.Fd)]
			l.mu.Unlock()
			if ready != nil {
				ready()
			}
		}
	}
}

// stop makes run return and waits for that; nothing is told any more.
func (l *loop) stop() {
	one := [8]byte{1}
	_, _ = unix.Write(l.wake, one[:])
	select {
	case <-l.over:
	case <-time.After(time.Second): // it was not running
	}
}

func (l *loop) close() {
	unix.Close(l.wake)
	unix.Close(l.ep)
}
