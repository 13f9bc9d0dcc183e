package linux

import (
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// FoundNoFile returns the limit of open files, soft and hard, as this program
// was started with. The Go runtime has raised the soft one since and tells
// nobody what it was, but gives it back to the programs that it starts: so one
// is started, stopped at its first instruction, asked, and killed; also when we
// are killed meanwhile, else it would stay stopped for ever.
func FoundNoFile() (soft, hard uint64, err error) {
	runtime.LockOSThread() // a tracer is a thread
	defer runtime.UnlockOSThread()
	sys := &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL}
	p, err := os.StartProcess("/proc/self/exe", []string{"slipway"}, &os.ProcAttr{Sys: sys})
	if err != nil {
		return 0, 0, fmt.Errorf("limit of open files: %w", err)
	}
	defer func() {
		_ = p.Kill()
		_, _ = p.Wait()
	}()
	var lim unix.Rlimit
	if err := unix.Prlimit(p.Pid, unix.RLIMIT_NOFILE, nil, &lim); err != nil {
		return 0, 0, fmt.Errorf("limit of open files: %w", err)
	}
	return lim.Cur, lim.Max, nil
}
