package leak

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// mounts: the caller's mount table, by mount point and type.
func mounts(_ context.Context, _ Scope, s Snapshot) error {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(data)) {
		head, tail, ok := strings.Cut(line, " - ")
		f := strings.Fields(head)
		if !ok || len(f) < 5 {
			return fmt.Errorf("mountinfo: %q", line)
		}
		kind, _, _ := strings.Cut(tail, " ")
		count(s, "mount: "+f[4]+" ("+kind+")")
	}
	return nil
}

// count adds a finding whose value is how many there are.
func count(s Snapshot, finding string) {
	n, _ := strconv.Atoi(s[finding])
	s[finding] = strconv.Itoa(n + 1)
}

// namespaces: those that some thread lives in. One held by a bind mount only
// shows among the mounts.
func namespaces(_ context.Context, _ Scope, s Snapshot) error {
	found, err := filepath.Glob("/proc/[0-9]*/task/[0-9]*/ns/*")
	if err != nil {
		return err
	}
	for _, f := range found {
		if name, err := os.Readlink(f); err == nil {
			s["namespace: "+name] = ""
		}
	}
	return nil
}

// processes: all but the caller and its ancestors, by pid and command line.
// A zombie is none: it has given back everything but its pid.
func processes(_ context.Context, _ Scope, s Snapshot) error {
	own := ancestors()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	for _, d := range dirs {
		pid, err := strconv.Atoi(filepath.Base(d))
		if err != nil || own[pid] {
			continue
		}
		state, parent, err := stat(pid)
		if err != nil || state == "Z" || state == "X" || parent == 2 || pid == 2 {
			continue // ended meanwhile; or a kernel thread
		}
		cmd, _ := os.ReadFile(filepath.Join(d, "cmdline"))
		name := strings.TrimSpace(strings.ReplaceAll(string(cmd), "\x00", " "))
		s[fmt.Sprintf("process: %d %s", pid, name)] = ""
	}
	return nil
}

// fds: what each other process has open, counted by command and kind of file.
func fds(_ context.Context, scope Scope, s Snapshot) error {
	if !scope.FDs {
		return nil
	}
	own := ancestors()
	found, err := filepath.Glob("/proc/[0-9]*/fd/[0-9]*")
	if err != nil {
		return err
	}
	for _, f := range found {
		dir := filepath.Dir(filepath.Dir(f))
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || own[pid] {
			continue
		}
		link, err := os.Readlink(f)
		if err != nil {
			continue // closed meanwhile
		}
		comm, _ := os.ReadFile(filepath.Join(dir, "comm"))
		count(s, "fd: "+strings.TrimSpace(string(comm))+" "+fileKind(link))
	}
	return nil
}

// fileKind is the kind of file behind a /proc/PID/fd link: "socket", "pipe",
// "anon_inode:[pidfd]", "net" for a network namespace, "memfd", else "file".
func fileKind(link string) string {
	switch kind, _, ok := strings.Cut(link, ":["); {
	case strings.HasPrefix(link, "/memfd:"):
		return "memfd"
	case strings.HasPrefix(link, "/"):
		return "file"
	case kind == "anon_inode" || !ok:
		return link
	default:
		return kind
	}
}

func ancestors() map[int]bool {
	own := map[int]bool{}
	for pid := os.Getpid(); pid > 0 && !own[pid]; {
		own[pid] = true
		_, parent, err := stat(pid)
		if err != nil {
			break
		}
		pid = parent
	}
	return own
}

func stat(pid int) (state string, parent int, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", 0, err
	}
	_, rest, _ := strings.Cut(string(data[strings.LastIndexByte(string(data), ')'):]), " ")
	f := strings.Fields(rest)
	if len(f) < 2 {
		return "", 0, fmt.Errorf("stat of %d: %q", pid, data)
	}
	parent, err = strconv.Atoi(f[1])
	return f[0], parent, err
}

// links: network interfaces and their addresses.
func links(_ context.Context, _ Scope, s Snapshot) error {
	all, err := net.Interfaces()
	if err != nil {
		return err
	}
	for _, link := range all {
		s["link: "+link.Name] = ""
		addrs, err := link.Addrs()
		if err != nil {
			return err
		}
		for _, a := range addrs {
			if ip, _, err := net.ParseCIDR(a.String()); err == nil && ip.IsLinkLocalUnicast() {
				continue // the kernel makes these on its own time
			}
			s["address: "+link.Name+" "+a.String()] = ""
		}
	}
	return nil
}

// firewall: nftables' rules, which hold iptables-nft's too. No nft: no look.
func firewall(ctx context.Context, _ Scope, s Snapshot) error {
	nft, err := exec.LookPath("nft")
	if err != nil {
		return nil
	}
	out, err := exec.CommandContext(ctx, nft, "--stateless", "list", "ruleset").Output()
	if err != nil {
		return err
	}
	var where []string // table, chain
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(counters.ReplaceAllString(line, ""))
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case line == "}":
			if len(where) > 0 {
				where = where[:len(where)-1]
			}
		case strings.HasSuffix(line, "{"):
			where = append(where, strings.TrimSuffix(line, " {"))
			count(s, "firewall: "+strings.Join(where, " / "))
		default:
			count(s, "firewall: "+strings.Join(append(where, line), " / "))
		}
	}
	return nil
}

var counters = regexp.MustCompile(`counter packets \d+ bytes \d+`)

// ipc: System V objects and POSIX message queues have no owner that ends.
func ipc(_ context.Context, _ Scope, s Snapshot) error {
	for _, kind := range []string{"shm", "sem", "msg"} {
		data, err := os.ReadFile("/proc/sysvipc/" + kind)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		lines := strings.Split(strings.TrimSpace(string(data)), "\n")
		for _, line := range lines[1:] {
			if f := strings.Fields(line); len(f) > 1 {
				s["ipc: "+kind+" "+f[1]] = ""
			}
		}
	}
	return nil
}
