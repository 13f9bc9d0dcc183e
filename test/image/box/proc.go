package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
)

// pgrep prints the pids whose command name matches the pattern, but its own,
// and says whether there was one.
func pgrep(w io.Writer, proc string, args []string) (bool, error) {
	if len(args) != 1 {
		return false, errors.New("usage: pgrep PATTERN")
	}
	re, err := regexp.Compile(args[0])
	if err != nil {
		return false, err
	}
	files, err := filepath.Glob(filepath.Join(proc, "[0-9]*", "comm"))
	if err != nil {
		return false, err
	}
	var pids []int
	for _, f := range files {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if err != nil || pid == os.Getpid() {
			continue
		}
		comm, err := os.ReadFile(f)
		if err == nil && re.MatchString(strings.TrimSpace(string(comm))) {
			pids = append(pids, pid)
		}
	}
	sort.Ints(pids)
	for _, pid := range pids {
		fmt.Fprintln(w, pid)
	}
	return len(pids) > 0, nil
}

// ipcs lists the shared memory segments: key, id, owner, mode, bytes, attached.
func ipcs(w io.Writer, file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	fmt.Fprint(w, "\n------ Shared Memory Segments --------\nkey        shmid      owner      perms      bytes      nattch\n")
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	for _, line := range lines[1:] {
		f := strings.Fields(line)
		if len(f) < 8 {
			return fmt.Errorf("%s: short line %q", file, line)
		}
		key, err := strconv.ParseInt(f[0], 10, 64)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "0x%08x %-10s %-10s %-10s %-10s %s\n", uint32(key), f[1], f[7], f[2], f[3], f[6])
	}
	return nil
}
