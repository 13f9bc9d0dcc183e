package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/godbus/dbus/v5"
)

var (
	// ErrUnavailable: no systemd answers on any bus.
	ErrUnavailable = errors.New("systemd is not available")
	// ErrExists: a unit of this name is there already.
	ErrExists = errors.New("unit exists")
	// ErrNotFound: no unit of this name is loaded.
	ErrNotFound = errors.New("no such unit")
)

// Property is one setting of a unit: its D-Bus name, and a value of the Go type
// that package dbus maps to the wanted signature.
type Property struct {
	Name  string
	Value any
}

// Infinity is "no limit" in properties that hold a number.
const Infinity = ^uint64(0)

// Manager is a systemd manager, reached when it is first needed. Safe for
// concurrent use.
type Manager struct {
	limit    time.Duration // of one call with its job
	reloaded func()        // nil: nobody wants to know

	turn chan struct{} // holds a token while nobody connects; guards link
	link *link
}

// Options of New. The zero value works.
type Options struct {
	// Limit is the longest that one call may take, with the job that it
	// started. 0: 30 seconds, more than a daemon-reload of a large host.
	Limit time.Duration
	// Reloaded is called, not concurrently, after systemd has read its
	// configuration anew: it has then written all limits of all units that it
	// knows of, the others to their defaults. Told only while a connection is
	// there, see Watch.
	Reloaded func()
}

// New returns a manager that has not been asked for anything yet.
func New(o Options) *Manager {
	m := &Manager{limit: o.Limit, reloaded: o.Reloaded, turn: make(chan struct{}, 1)}
	if m.limit <= 0 {
		m.limit = 30 * time.Second
	}
	m.turn <- struct{}{}
	return m
}

// Booted tells whether systemd is this machine's service manager (sd_booted(3)).
func Booted() bool {
	info, err := os.Lstat("/run/systemd/system")
	return err == nil && info.IsDir()
}

// Check connects. Errors: ErrUnavailable.
func (m *Manager) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, m.limit)
	defer cancel()
	_, err := m.connect(ctx)
	return err
}

// Watch keeps a connection until ctx ends, so that Options.Reloaded is called
// also while nobody asks for anything. A connection that was lost may have
// missed a reload: Reloaded is called when it is there again.
func (m *Manager) Watch(ctx context.Context) {
	for again := false; ctx.Err() == nil; again = true {
		l, err := m.connect(ctx)
		if err != nil {
			select {
			case <-ctx.Done():
			case <-time.After(retryPause):
			}
			continue
		}
		if again && m.reloaded != nil {
			l.tellReloaded()
		}
		select {
		case <-ctx.Done():
		case <-l.conn.Context().Done():
		}
	}
}

// retryPause is between two tries to reach a systemd that is not there.
const retryPause = 2 * time.Second

// Close ends the connection; calls that are under way fail.
func (m *Manager) Close() error {
	<-m.turn
	defer func() { m.turn <- struct{}{} }()
	if m.link == nil {
		return nil
	}
	err := m.link.conn.Close()
	m.link = nil
	return err
}

// connect returns the connection, a new one if the last was lost.
func (m *Manager) connect(ctx context.Context) (*link, error) {
	select {
	case <-m.turn:
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: still connecting: %w", ErrUnavailable, context.Cause(ctx))
	}
	defer func() { m.turn <- struct{}{} }()
	if m.link != nil && m.link.conn.Connected() {
		return m.link, nil
	}
	if m.link != nil {
		_ = m.link.conn.Close()
		m.link = nil
	}
	l, err := dial(ctx, m.reloaded)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	m.link = l
	return l, nil
}

// plain makes D-Bus's errors ours.
func plain(e dbus.Error) error {
	switch err := error(e); e.Name {
	case "org.freedesktop.systemd1.UnitExists":
		return fmt.Errorf("%w: %w", ErrExists, err)
	case "org.freedesktop.systemd1.NoSuchUnit", "org.freedesktop.DBus.Error.UnknownObject":
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	case "org.freedesktop.DBus.Error.Disconnected", "org.freedesktop.DBus.Error.NoReply", "org.freedesktop.DBus.Error.ServiceUnknown":
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return fmt.Errorf("%s: %w", e.Name, e)
}
