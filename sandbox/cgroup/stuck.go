package cgroup

import (
	"fmt"
	"os"
	"strings"
)

// StuckProcess is one that did not go.
type StuckProcess struct {
	Pid   int    // 0: not visible in our PID namespace
	Name  string // comm; the process chose it: hostile
	State string // one letter of /proc/PID/stat: "D" is in the kernel and cannot die
	Wait  string // the kernel function it waits in; "" if it runs or the kernel does not tell
}

// StuckError names who outlived SIGKILL, or holds a group that is to be removed.
// It unwraps to ErrStuck and to the end of the wait (context.DeadlineExceeded).
type StuckError struct {
	Op        string // "kill" or "remove"
	Path      string
	Processes []StuckProcess // the first 100
	Total     int
	Cause     error
}

// Error lists the first few.
func (e *StuckError) Error() string {
	const shown = 8
	var who []string
	for i, p := range e.Processes {
		if i == shown {
			break
		}
		who = append(who, p.String())
	}
	more := ""
	if e.Total > len(who) {
		more = fmt.Sprintf(" and %d more", e.Total-len(who))
	}
	return fmt.Sprintf("%s cgroup %q: %d left: %s%s: %v", e.Op, e.Path, e.Total, strings.Join(who, ", "), more, e.Cause)
}

// Unwrap returns both reasons.
func (e *StuckError) Unwrap() []error { return []error{ErrStuck, e.Cause} }

// String is "4711 (sh, state D, waits in jbd2_log_wait_commit)".
func (p StuckProcess) String() string {
	s := fmt.Sprintf("%d (%q, state %s", p.Pid, p.Name, p.State)
	if p.Wait != "" {
		s += ", waits in " + p.Wait
	}
	return s + ")"
}

// stuck describes who is in the group now; with nobody there, what ended the wait.
func (g *Group) stuck(op string, cause error) error {
	pids, err := g.pids()
	if err != nil || len(pids) == 0 {
		return fmt.Errorf("%s cgroup %q: %w", op, g.path, cause)
	}
	e := &StuckError{Op: op, Path: g.path, Total: len(pids), Cause: cause}
	for _, pid := range pids[:min(len(pids), 100)] {
		e.Processes = append(e.Processes, describe(pid))
	}
	return e
}

// describe reads what /proc tells; a process that has gone meanwhile has state "?".
func describe(pid int) StuckProcess {
	p := StuckProcess{Pid: pid, State: "?"}
	at := fmt.Sprintf("/proc/%d/", pid)
	if stat, err := os.ReadFile(at + "stat"); err == nil {
		// The name may hold anything, also ") R": the last parenthesis ends it.
		text := string(stat)
		if open, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')'); open >= 0 && end > open {
			p.Name = text[open+1 : end]
			if rest := strings.Fields(text[end+1:]); len(rest) > 0 {
				p.State = rest[0]
			}
		}
	}
	if wchan, err := os.ReadFile(at + "wchan"); err == nil && string(wchan) != "0" {
		p.Wait = strings.TrimSpace(string(wchan))
	}
	if p.Wait == "" {
		p.Wait = topOfStack(at + "stack")
	}
	return p
}

// topOfStack is the innermost function of /proc/PID/stack: "[<0>] name+0x1/0x2".
func topOfStack(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(text), "\n")
	_, name, _ := strings.Cut(line, "] ")
	name, _, _ = strings.Cut(name, "+")
	return name
}
