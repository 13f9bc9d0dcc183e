package sandbox

import (
	"bytes"
	"fmt"
	"os"
	"syscall"
)

// tornLimit bounds how much of the end of a log is looked at, in bytes: a batch
// with all that the format adds to it.
const tornLimit = 256 << 10

// mendLog cuts a line off that was half written when the keeper was killed.
// A batch that is still in the staging pipe is written again by the next
// keeper; when the daemon died too the pipe is gone, and what follows would
// continue in the middle of a line of the past. log is open for writing.
func mendLog(log int) error {
	f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", log)) // the same file, whatever its path leads to now
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	tail := make([]byte, min(info.Size(), tornLimit))
	start := info.Size() - int64(len(tail))
	if _, err := f.ReadAt(tail, start); err != nil {
		return err
	}
	whole := bytes.LastIndexByte(tail, '\n') + 1
	if whole == len(tail) || whole == 0 && start > 0 { // nothing torn, or not a log of ours
		return nil
	}
	return os.NewSyscallError("ftruncate", syscall.Ftruncate(log, start+int64(whole)))
}
