package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

// processes shows every process of the machine: two of slipway's, and the
// container. There is no third, no shim and no pause.
func (d *demo) processes(context.Context) error {
	return d.show.step("what runs now", "ps -eo pid,rss,args", func() (string, error) {
		dirs, err := filepath.Glob("/proc/[0-9]*")
		if err != nil {
			return "", err
		}
		var pids []int
		for _, dir := range dirs {
			if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil && pid != 1 && pid != os.Getpid() {
				pids = append(pids, pid)
			}
		}
		sort.Ints(pids)
		var lines []string
		for _, pid := range pids {
			cmd, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			args := strings.Fields(strings.ReplaceAll(string(cmd), "\x00", " "))
			if len(args) > 0 {
				args[0] = filepath.Base(args[0])
				lines = append(lines, fmt.Sprintf("%5d %7.1f MB  %s", pid, rss(pid), strings.Join(args[:min(2, len(args))], " ")))
			}
		}
		return fmt.Sprintf("%d processes\n%s", len(lines), strings.Join(lines, "\n")), nil
	})
}

// rss is the resident memory of a process in MB, 0 if unknown.
func rss(pid int) float64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(data))
	if len(f) < 2 {
		return 0
	}
	pages, _ := strconv.Atoi(f[1])
	return float64(pages*os.Getpagesize()) / (1 << 20)
}
