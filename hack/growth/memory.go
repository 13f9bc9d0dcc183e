package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
)

// pss adds up the proportional set size, in MiB, of the processes whose command
// line matches.
func pss(match *regexp.Regexp) float64 {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	total := 0
	for _, d := range dirs {
		cmdline, err := os.ReadFile(filepath.Join(d, "cmdline"))
		if err != nil || filepath.Base(d) == strconv.Itoa(os.Getpid()) || !match.Match(bytes.ReplaceAll(cmdline, []byte{0}, []byte{' '})) {
			continue
		}
		rollup, _ := os.ReadFile(filepath.Join(d, "smaps_rollup"))
		for line := range bytes.Lines(rollup) {
			if f := bytes.Fields(line); len(f) > 1 && string(f[0]) == "Pss:" {
				kib, _ := strconv.Atoi(string(f[1]))
				total += kib
			}
		}
	}
	return float64(total) / 1024
}
