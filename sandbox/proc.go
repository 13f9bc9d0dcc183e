package sandbox

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// startTime of a process, in clock ticks since boot: with the pid it tells a
// process of ours from a later one that got the same number.
func startTime(pid int) (uint64, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	// The second field is the command in parentheses and may hold anything.
	i := bytes.LastIndexByte(b, ')')
	fields := bytes.Fields(b[max(i, 0):])
	const startTimeAfterComm = 20 // field 22 of proc(5), counted from the ")"
	if i < 0 || len(fields) <= startTimeAfterComm {
		return 0, fmt.Errorf("/proc/%d/stat: unexpected form", pid)
	}
	return strconv.ParseUint(string(fields[startTimeAfterComm]), 10, 64)
}

// bootID of the running kernel: a record of another boot has no process.
func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return string(bytes.TrimSpace(b)), err
}
