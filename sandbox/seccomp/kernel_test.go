//go:build amd64 || arm64

package seccomp

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// helperEnv makes the test binary install a filter on itself and try calls.
const helperEnv = "SLIPWAY_TEST_FILTER"

func TestMain(m *testing.M) {
	if os.Getenv(helperEnv) != "" {
		os.Exit(confined())
	}
	os.Exit(m.Run())
}

// kernelProfile allows all but mkdirat, and chdir-like calls only with one
// argument pattern that a 32-bit comparison would get wrong.
func kernelProfile() *specs.LinuxSeccomp {
	return &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{
		{Names: []string{"mkdirat"}, Action: specs.ActErrno, ErrnoRet: errno(uint(syscall.EXDEV))},
		entry(specs.ActErrno, []string{"getpgid"}, arg(0, specs.OpEqualTo, 1<<32)),
		entry(specs.ActErrno, []string{"getsid"}, arg(0, specs.OpGreaterThan, 1<<32|7)),
	}}
}

// confined runs in a process of its own; the exit code says which step failed.
func confined() int {
	runtime.LockOSThread()
	f, err := Compile(kernelProfile())
	if err != nil {
		return 2
	}
	const (
		prSetNoNewPrivs = 38
		setModeFilter   = 1
	)
	if _, _, e := syscall.RawSyscall6(syscall.SYS_PRCTL, prSetNoNewPrivs, 1, 0, 0, 0, 0); e != 0 {
		return 3
	}
	prog := struct {
		n    uint16
		code unsafe.Pointer
	}{uint16(len(f.Program) / 8), unsafe.Pointer(&f.Program[0])}
	if _, _, e := syscall.RawSyscall(seccompNumber, setModeFilter, uintptr(f.Flags), uintptr(unsafe.Pointer(&prog))); e != 0 {
		return 4
	}
	for i, c := range []struct {
		nr, arg uintptr
		want    syscall.Errno
	}{
		{syscall.SYS_GETPID, 0, 0},
		{syscall.SYS_MKDIRAT, 0, syscall.EXDEV},
		{syscall.SYS_GETPGID, 0, 0},
		{syscall.SYS_GETPGID, 1 << 32, syscall.EPERM},
		{syscall.SYS_GETSID, 0, 0},
		{syscall.SYS_GETSID, 1<<32 | 8, syscall.EPERM},
	} {
		if _, _, e := syscall.RawSyscall(c.nr, c.arg, 0, 0); e != c.want {
			return 10 + i
		}
	}
	return 0
}

// The kernel takes the program and does what it says.
func TestInKernel(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperEnv+"=1")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 4 {
		t.Fatalf("the kernel refuses the filter")
	}
	if err != nil {
		t.Fatalf("%v: %s", err, strings.TrimSpace(string(out)))
	}
}

// The rules by which the kernel refuses programs, for all profiles of the tests.
func TestProgramsAreWellFormed(t *testing.T) {
	for name, s := range profiles(t) {
		f, err := Compile(s)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		checkProgram(t, name, f.Program)
	}
}

// checkProgram applies the rules of the kernel's checker: every jump lands
// inside, every load is a word of the data, the last instruction returns.
func checkProgram(t testing.TB, name string, program []byte) {
	t.Helper()
	code := decode(program)
	if len(code) == 0 || len(code) > maxInstructions || code[len(code)-1].op != opRet {
		t.Fatalf("%s: %d instructions", name, len(code))
	}
	for pc, i := range code {
		far := 0
		switch i.op {
		case opJump:
			far = int(i.k)
		case opEqual, opMore, opLeast:
			far = int(max(i.jt, i.jf))
		case opLoad:
			if i.k%4 != 0 || i.k > 60 {
				t.Fatalf("%s: instruction %d loads at %d", name, pc, i.k)
			}
		}
		if pc+1+far >= len(code) && i.op != opRet {
			t.Fatalf("%s: instruction %d jumps out", name, pc)
		}
	}
}
