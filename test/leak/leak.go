package leak

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Scope says where to look.
type Scope struct {
	// Cgroups are the directories below which every cgroup counts.
	Cgroups []string
	// Dirs are the directories whose files count, by path.
	Dirs []string
	// FDs counts the open files of every other process too. They may become
	// fewer, never more.
	FDs bool
	// Ignore says which findings ("kind: what") may stay; nil: none.
	Ignore func(finding string) bool
}

// Snapshot is what was there at one moment: "kind: what" -> its value, "" where
// only being there matters.
type Snapshot map[string]string

// Take looks at everything in scope.
func Take(ctx context.Context, scope Scope) (Snapshot, error) {
	s := Snapshot{}
	looks := []struct {
		kind string
		look func(context.Context, Scope, Snapshot) error
	}{
		{"mounts", mounts},
		{"namespaces", namespaces},
		{"processes", processes},
		{"fds", fds},
		{"links", links},
		{"firewall", firewall},
		{"cgroups", cgroups},
		{"files", files},
		{"ipc", ipc},
		{"sysctls", sysctls},
	}
	for _, l := range looks {
		if err := l.look(ctx, scope, s); err != nil {
			return nil, fmt.Errorf("look at %s: %w", l.kind, err)
		}
	}
	for finding := range s {
		if scope.Ignore != nil && scope.Ignore(finding) {
			delete(s, finding)
		}
	}
	return s, nil
}

// Left lists what is in after and was not in before, or has another value, and
// what is gone, in order. Processes that ended and files that were removed
// are gone by right; other things of the machine are not.
func (before Snapshot) Left(after Snapshot) []string {
	var left []string
	for finding, value := range after {
		old, was := before[finding]
		switch {
		case !was && strings.HasPrefix(finding, "sysctl: "): // came with a kernel module, as iptables loads them
		case !was && value != "":
			left = append(left, fmt.Sprintf("%s = %s", finding, value))
		case !was:
			left = append(left, finding)
		case old != value && !fewer(finding, old, value):
			left = append(left, fmt.Sprintf("%s was %s, is %s", finding, old, value))
		}
	}
	for finding := range before {
		if _, is := after[finding]; !is && !mayGo.MatchString(finding) {
			left = append(left, "gone: "+finding)
		}
	}
	slices.Sort(left)
	return left
}

var mayGo = regexp.MustCompile(`^(process|file|namespace|fd): `)

// fewer: a count of open files that has not grown.
func fewer(finding, old, value string) bool {
	a, errA := strconv.Atoi(old)
	b, errB := strconv.Atoi(value)
	return strings.HasPrefix(finding, "fd: ") && errA == nil && errB == nil && b < a
}

// Without returns the findings whose kind is none of these ("file", "fd").
func (before Snapshot) Without(kinds ...string) Snapshot {
	out := Snapshot{}
	for finding, value := range before {
		kind, _, _ := strings.Cut(finding, ":")
		if !slices.Contains(kinds, kind) {
			out[finding] = value
		}
	}
	return out
}

// Settled compares until nothing is left or the time is over, and returns what
// is left at the end.
func (before Snapshot) Settled(ctx context.Context, scope Scope, within time.Duration) ([]string, error) {
	deadline := time.Now().Add(within)
	for {
		after, err := Take(ctx, scope)
		if err != nil {
			return nil, err
		}
		left := before.Left(after)
		if len(left) == 0 || time.Now().After(deadline) {
			return left, nil
		}
		select {
		case <-ctx.Done():
			return left, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}
