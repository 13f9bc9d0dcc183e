package systemd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	busName     = "org.freedesktop.systemd1"
	managerName = "org.freedesktop.systemd1.Manager"
	managerPath = dbus.ObjectPath("/org/freedesktop/systemd1")

	// privateBus is systemd's own socket: root's, and there without a D-Bus daemon.
	privateBus = "/run/systemd/private"
	systemBus  = "/run/dbus/system_bus_socket"
	// busEnv names another bus, as for every D-Bus client.
	busEnv = "DBUS_SYSTEM_BUS_ADDRESS"

	dialLimit  = 5 * time.Second  // of connecting and saying who we are
	writeLimit = 10 * time.Second // of one message: whoever does not read so long has hung
)

// link is one connection.
type link struct {
	conn    *dbus.Conn
	manager dbus.BusObject

	mu      sync.Mutex // guards waiting
	waiting map[string][]chan removal

	reloads  chan struct{} // holds one request to tell of a reload; nil: nobody wants to know
	finished chan struct{} // closed with the connection
}

// removal is the signal JobRemoved.
type removal struct {
	job    dbus.ObjectPath
	result string
}

// dial tries the buses in turn.
func dial(ctx context.Context, reloaded func()) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	if address := os.Getenv(busEnv); address != "" {
		path, ok := strings.CutPrefix(address, "unix:path=")
		if !ok {
			return nil, fmt.Errorf("%s=%q: only unix:path= is supported", busEnv, address)
		}
		path, _, _ = strings.Cut(path, ",")
		return dialBus(ctx, path, true, reloaded)
	}
	l, err := dialBus(ctx, privateBus, false, reloaded)
	if err == nil {
		return l, nil
	}
	l, sysErr := dialBus(ctx, systemBus, true, reloaded)
	if sysErr == nil {
		return l, nil
	}
	return nil, errors.Join(err, sysErr)
}

// dialBus connects to one bus; shared is one with a D-Bus daemon behind it.
func dialBus(ctx context.Context, path string, shared bool, reloaded func()) (*link, error) {
	var d net.Dialer
	socket, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	l := &link{waiting: map[string][]chan removal{}, finished: make(chan struct{})}
	if reloaded != nil {
		l.reloads = make(chan struct{}, 1)
	}
	stop := context.AfterFunc(ctx, func() { _ = socket.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	l.conn, err = dbus.NewConn(&boundedConn{socket}, dbus.WithSignalHandler(l))
	if err != nil {
		_ = socket.Close()
		return nil, err
	}
	if err := l.greet(ctx, shared); err != nil {
		_ = l.conn.Close()
		return nil, fmt.Errorf("D-Bus at %s: %w", path, err)
	}
	if reloaded != nil {
		go l.tell(reloaded)
	}
	return l, nil
}

// greet says who we are, and on a shared bus what we want to hear.
func (l *link) greet(ctx context.Context, shared bool) error {
	if err := l.conn.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Getuid()))}); err != nil {
		return err
	}
	l.manager = l.conn.Object(busName, managerPath)
	if !shared {
		return nil // systemd sends all signals to whoever is connected
	}
	if err := l.conn.Hello(); err != nil {
		return err
	}
	for _, member := range []string{"JobRemoved", "Reloading"} {
		if err := l.conn.AddMatchSignalContext(ctx, dbus.WithMatchInterface(managerName), dbus.WithMatchMember(member)); err != nil {
			return err
		}
	}
	return l.manager.CallWithContext(ctx, managerName+".Subscribe", 0).Err
}

// boundedConn bounds each write: the library holds a lock over it that every
// call needs.
type boundedConn struct{ net.Conn }

func (c *boundedConn) Write(b []byte) (int, error) {
	_ = c.SetWriteDeadline(time.Now().Add(writeLimit))
	return c.Conn.Write(b)
}

// DeliverSignal is called by the library for each signal, in order, and does
// not wait.
func (l *link) DeliverSignal(_, member string, s *dbus.Signal) {
	switch member {
	case "JobRemoved":
		l.jobRemoved(s.Body)
	case "Reloading":
		if len(s.Body) == 1 && s.Body[0] == false {
			l.tellReloaded()
		}
	}
}

// Terminate is called by the library when the connection has ended.
func (l *link) Terminate() { close(l.finished) }

func (l *link) tellReloaded() {
	select {
	case l.reloads <- struct{}{}:
	default: // nobody wants to know, or is going to be told
	}
}

// tell calls reloaded, one call at a time, until the connection ends.
func (l *link) tell(reloaded func()) {
	for {
		select {
		case <-l.reloads:
			reloaded()
		case <-l.finished:
			return
		}
	}
}

func (l *link) jobRemoved(body []any) {
	if len(body) != 4 {
		return
	}
	job, isPath := body[1].(dbus.ObjectPath)
	unit, isUnit := body[2].(string)
	result, isResult := body[3].(string)
	if !isPath || !isUnit || !isResult {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.waiting[unit] {
		select {
		case c <- removal{job, result}:
		default: // more jobs of one unit than anybody asks for at a time
		}
	}
}

// listen hears of the ends of a unit's jobs from now on, until stop.
func (l *link) listen(unit string) (removed <-chan removal, stop func()) {
	c := make(chan removal, 8)
	l.mu.Lock()
	l.waiting[unit] = append(l.waiting[unit], c)
	l.mu.Unlock()
	return c, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		var rest []chan removal
		for _, o := range l.waiting[unit] {
			if o != c {
				rest = append(rest, o)
			}
		}
		if len(rest) == 0 {
			delete(l.waiting, unit)
			return
		}
		l.waiting[unit] = rest
	}
}
