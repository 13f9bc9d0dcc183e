package systemd

import (
	"bufio"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/godbus/dbus/v5"
)

// Unit is a scope that somebody started.
type Unit struct {
	Name  string
	Props map[string]any // as set last, by name; "PIDs" as given at the start
}

// Faults make the manager misbehave. The zero value does not.
type Faults struct {
	// SignalFirst: the end of a job is told before the job.
	SignalFirst bool
	// Silent: jobs have no end that anybody is told.
	Silent bool
	// Deaf: calls get no answer.
	Deaf bool
	// Result of jobs; "" is "done".
	Result string
	// Errors by method, such as "SetUnitProperties": the D-Bus error's name.
	Errors map[string]string
	// Hang up on the client at this method, without an answer.
	HangUp string
	// OnStart is called before a scope's job ends.
	OnStart func(Unit)
}

// Manager is the fake. Safe for concurrent use.
type Manager struct {
	Path string // of its socket

	listener net.Listener
	wait     sync.WaitGroup

	mu      sync.Mutex // guards what follows
	faults  Faults
	units   map[string]*Unit
	calls   []string // method and unit
	jobs    int
	clients map[*client]bool
}

// Start listens in dir.
func Start(dir string) (*Manager, error) {
	m := &Manager{Path: filepath.Join(dir, "bus.sock"), units: map[string]*Unit{}, clients: map[*client]bool{}}
	return m, m.Listen()
}

// Address is the value of DBUS_SYSTEM_BUS_ADDRESS.
func (m *Manager) Address() string { return "unix:path=" + m.Path }

// Listen begins to take connections, after Start or Leave.
func (m *Manager) Listen() error {
	_ = os.Remove(m.Path)
	l, err := net.Listen("unix", m.Path)
	if err != nil {
		return err
	}
	m.listener = l
	m.wait.Go(func() { m.accept(l) })
	return nil
}

// Leave ends all connections and takes no more, as systemd when it executes
// itself again. Units stay.
func (m *Manager) Leave() {
	_ = m.listener.Close()
	m.HangUp()
	m.wait.Wait()
}

// HangUp ends all connections; new ones are taken.
func (m *Manager) HangUp() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for c := range m.clients {
		_ = c.conn.Close()
	}
}

// Set changes how it misbehaves.
func (m *Manager) Set(f Faults) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults = f
}

// Units are those that run, by name.
func (m *Manager) Units() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.units))
}

// Unit is one that runs; ok is false for one that does not.
func (m *Manager) Unit(name string) (u Unit, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.units[name]
	if p == nil {
		return u, false
	}
	return Unit{p.Name, maps.Clone(p.Props)}, true
}

// Forget ends a unit, as when its last process has ended.
func (m *Manager) Forget(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.units, name)
}

// Calls are all calls so far: "StopUnit a.scope".
func (m *Manager) Calls() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.calls)
}

// Reload tells all clients that the configuration was read anew.
func (m *Manager) Reload() {
	m.tell("Reloading", true)
	m.tell("Reloading", false)
}

func (m *Manager) tell(member string, body ...any) {
	m.mu.Lock()
	all := slices.Collect(maps.Keys(m.clients))
	m.mu.Unlock()
	for _, c := range all {
		_ = c.signal(member, body...)
	}
}

func (m *Manager) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		c := &client{conn: conn, in: bufio.NewReader(conn)}
		m.wait.Go(func() { m.serve(c) })
	}
}

func (m *Manager) serve(c *client) {
	defer c.conn.Close()
	m.mu.Lock()
	m.clients[c] = true
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		delete(m.clients, c)
		m.mu.Unlock()
	}()
	if c.greet() != nil {
		return
	}
	for {
		msg, err := c.read()
		if err != nil {
			return
		}
		if msg.Type != dbus.TypeMethodCall {
			continue
		}
		if !m.answer(c, msg) {
			return
		}
	}
}

// answer is what each method does; false ends the connection.
func (m *Manager) answer(c *client, msg *dbus.Message) bool {
	method, _ := msg.Headers[dbus.FieldMember].Value().(string)
	unit := ""
	if len(msg.Body) > 0 {
		unit, _ = msg.Body[0].(string)
	}
	m.mu.Lock()
	f := m.faults
	m.calls = append(m.calls, strings.TrimSpace(method+" "+unit))
	m.mu.Unlock()
	switch {
	case f.HangUp == method:
		return false
	case f.Deaf:
		return true
	case f.Errors[method] != "":
		return c.fail(msg, f.Errors[method]) == nil
	}
	switch method {
	case "Hello":
		return c.reply(msg, ":1.1") == nil
	case "StartTransientUnit":
		return m.start(c, msg, f, unit) == nil
	case "StopUnit":
		if !m.remove(unit) {
			return c.fail(msg, "org.freedesktop.systemd1.NoSuchUnit") == nil
		}
		return m.job(c, msg, f, unit) == nil
	case "SetUnitProperties":
		if !m.set(unit, msg.Body[2]) {
			return c.fail(msg, "org.freedesktop.systemd1.NoSuchUnit") == nil
		}
	case "ResetFailedUnit":
		return c.fail(msg, "org.freedesktop.systemd1.NoSuchUnit") == nil
	}
	return c.reply(msg) == nil
}

func (m *Manager) remove(unit string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.units[unit]
	delete(m.units, unit)
	return ok
}

func (m *Manager) start(c *client, msg *dbus.Message, f Faults, unit string) error {
	u := &Unit{unit, properties(msg.Body[2])}
	m.mu.Lock()
	there := m.units[unit] != nil
	if !there {
		m.units[unit] = u
	}
	m.mu.Unlock()
	if there {
		return c.fail(msg, "org.freedesktop.systemd1.UnitExists")
	}
	if f.OnStart != nil {
		f.OnStart(*u)
	}
	return m.job(c, msg, f, unit)
}

func (m *Manager) set(unit string, body any) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	u := m.units[unit]
	if u == nil {
		return false
	}
	maps.Copy(u.Props, properties(body))
	return true
}

// properties decodes a(sv).
func properties(body any) map[string]any {
	props := map[string]any{}
	list, _ := body.([][]any)
	for _, p := range list {
		if v, ok := p[1].(dbus.Variant); ok {
			props[p[0].(string)] = v.Value()
		}
	}
	return props
}

// job answers with a job, and tells everybody of its end.
func (m *Manager) job(c *client, msg *dbus.Message, f Faults, unit string) error {
	m.mu.Lock()
	m.jobs++
	id := uint32(m.jobs)
	m.mu.Unlock()
	job := dbus.ObjectPath(fmt.Sprintf("/org/freedesktop/systemd1/job/%d", id))
	result := f.Result
	if result == "" {
		result = "done"
	}
	tell := func() {
		if !f.Silent {
			m.tell("JobRemoved", id, job, unit, result)
		}
	}
	if f.SignalFirst {
		tell()
		return c.reply(msg, job)
	}
	err := c.reply(msg, job)
	tell()
	return err
}
