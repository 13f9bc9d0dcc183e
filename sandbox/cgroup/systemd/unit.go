package systemd

import (
	"context"
	"errors"
	"fmt"

	"github.com/godbus/dbus/v5"
)

// StartScope makes a transient scope around a process and returns when systemd
// has moved the process there. A unit of this name that has ended and was not
// yet forgotten is no obstacle.
//
// Errors: ErrExists, ErrUnavailable, and systemd's own. After an error other
// than ErrExists the scope may be there: StopUnit it.
func (m *Manager) StartScope(ctx context.Context, name string, pid int, props []Property) error {
	props = append([]Property{{"PIDs", []uint32{uint32(pid)}}}, props...)
	err := m.startScope(ctx, name, props)
	if errors.Is(err, ErrExists) {
		_ = m.call(ctx, managerName+".ResetFailedUnit", name) // else it says that it is not there, or not failed
		if err := m.StopUnit(ctx, name); err != nil {
			return fmt.Errorf("systemd: start %s: an old one stays: %w", name, err)
		}
		err = m.startScope(ctx, name, props)
	}
	if err != nil {
		return fmt.Errorf("systemd: start %s: %w", name, err)
	}
	return nil
}

func (m *Manager) startScope(ctx context.Context, name string, props []Property) error {
	type auxiliary struct {
		Name  string
		Props []property
	}
	return m.job(ctx, name, managerName+".StartTransientUnit", name, "fail", encode(props), []auxiliary{})
}

// StopUnit ends a unit and returns when systemd has forgotten its processes.
// One that is not there is stopped.
func (m *Manager) StopUnit(ctx context.Context, name string) error {
	err := m.job(ctx, name, managerName+".StopUnit", name, "replace")
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("systemd: stop %s: %w", name, err)
	}
	return nil
}

// SetProperties changes properties of a running unit until it ends.
// Errors: ErrNotFound, ErrUnavailable, and systemd's own.
func (m *Manager) SetProperties(ctx context.Context, name string, props []Property) error {
	const untilItEnds = true
	if err := m.call(ctx, managerName+".SetUnitProperties", name, untilItEnds, encode(props)); err != nil {
		return fmt.Errorf("systemd: set properties of %s: %w", name, err)
	}
	return nil
}

// property is a Property as it goes over the wire: (sv).
type property struct {
	Name  string
	Value dbus.Variant
}

func encode(props []Property) []property {
	list := make([]property, len(props))
	for i, p := range props {
		list[i] = property{p.Name, dbus.MakeVariant(p.Value)}
	}
	return list
}

// call makes a call that has no answer.
func (m *Manager) call(ctx context.Context, method string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, m.limit)
	defer cancel()
	l, err := m.connect(ctx)
	if err != nil {
		return err
	}
	return l.called(ctx, l.manager.CallWithContext(ctx, method, 0, args...).Err)
}

// job makes a call that starts a job on unit, and waits for the job's end.
func (m *Manager) job(ctx context.Context, unit, method string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, m.limit)
	defer cancel()
	l, err := m.connect(ctx)
	if err != nil {
		return err
	}
	removed, stop := l.listen(unit)
	defer stop()
	var job dbus.ObjectPath
	if err := l.called(ctx, l.manager.CallWithContext(ctx, method, 0, args...).Store(&job)); err != nil {
		return err
	}
	for {
		select {
		case r := <-removed:
			if r.job != job {
				continue
			}
			if r.result != "done" {
				return fmt.Errorf("its job ended with %q", r.result)
			}
			return nil
		case <-l.finished:
			return fmt.Errorf("%w: the connection was lost while the job ran", ErrUnavailable)
		case <-ctx.Done():
			return fmt.Errorf("%w: the job has not ended: %w", ErrUnavailable, context.Cause(ctx))
		}
	}
}

// called says what an error of a call means: one that systemd did not send is
// of the connection, which is not used again.
func (l *link) called(ctx context.Context, err error) error {
	var answer dbus.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &answer):
		return plain(answer)
	case ctx.Err() != nil:
		return fmt.Errorf("%w: no answer: %w", ErrUnavailable, context.Cause(ctx))
	}
	_ = l.conn.Close()
	return fmt.Errorf("%w: the connection was lost: %w", ErrUnavailable, err)
}
