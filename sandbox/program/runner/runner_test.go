package runner

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"slipway/sandbox/linux"
)

// form builds programs by hand. Data begins with the texts of argv.
func execForm(path string, two bool, before ...Step) *Form {
	f := &Form{Cgroup: -1, Two: two}
	f.Data = append([]byte(path), 0)
	for len(f.Data)%8 != 0 {
		f.Data = append(f.Data, 0)
	}
	argv := uint64(len(f.Data))
	f.Data = append(f.Data, make([]byte, 24)...) // argv, null; env is the null
	f.Relocs = []Reloc{{argv, KindData}}
	f.Steps = append(f.Steps, before...)
	if two {
		f.Steps = append(f.Steps,
			Step{Nr: unix.SYS_CLOSE_RANGE, Args: [6]uint64{3, 0xffffffff}},
			Step{Nr: unix.SYS_MUNMAP, Flags: FlagUnmap},
			Step{Nr: unix.SYS_MADVISE, Args: [6]uint64{0, 0, unix.MADV_DONTFORK}, Kinds: KindPidPage | KindPageSize<<4},
			Step{
				Nr:   unix.SYS_CLONE,
				Args: [6]uint64{unix.CLONE_PARENT | unix.CLONE_VFORK | unix.CLONE_PARENT_SETTID | uint64(unix.SIGCHLD)}, Kinds: KindPidPage << 8,
				Flags: FlagFork,
			})
	}
	f.Steps = append(f.Steps, Step{
		Nr: unix.SYS_EXECVE, Args: [6]uint64{0, argv, argv + 8}, Kinds: KindData | KindData<<4 | KindData<<8,
		Flags: FlagExec | FlagNote, Tolerate: 1<<unix.ENOENT | 1<<unix.EACCES,
	})
	return f
}

func clones() []bool {
	if raced {
		return []bool{false}
	}
	return []bool{false, true}
}

func load(t testing.TB, f *Form, fds ...int) (*Loaded, error) {
	t.Helper()
	fd, err := linux.SealedMemfd("test", f.Encode())
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	return Load(fd, fds)
}

func startForm(t testing.TB, f *Form) (Child, error) {
	t.Helper()
	l, err := load(t, f)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return l.Start(ctx)
}

func reap(t testing.TB, c Child) {
	t.Helper()
	_, err := unix.Wait4(c.Pid, nil, 0, nil)
	if err != nil {
		t.Error(err)
	}
	unix.Close(c.Pidfd)
}

// Children come to be while the collector runs, goroutines are preempted and
// SIGPROF arrives; each makes its execve, and no pipe of another holds it up.
func TestManyStarts(t *testing.T) {
	if err := pprof.StartCPUProfile(discard{}); err == nil {
		defer pprof.StopCPUProfile()
	}
	stop := make(chan struct{})
	var churn sync.WaitGroup
	churn.Add(1)
	go func() {
		defer churn.Done()
		for {
			select {
			case <-stop:
				return
			default:
				_ = make([]byte, 1<<20)
				runtime.GC()
			}
		}
	}()
	n := 500
	if testing.Short() {
		n = 50
	}
	for _, two := range clones() {
		var wg sync.WaitGroup
		for range 4 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for range n / 4 {
					c, err := startForm(t, execForm("/bin/true", two))
					if err != nil {
						t.Errorf("two %v: %v", two, err)
						return
					}
					reap(t, c)
				}
			}()
		}
		wg.Wait()
	}
	close(stop)
	churn.Wait()
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

func TestFailures(t *testing.T) {
	for _, two := range clones() {
		bad := Step{Nr: unix.SYS_CLOSE, Args: [6]uint64{9999}}
		for _, tt := range []struct {
			name  string
			form  *Form
			step  int
			errno unix.Errno
		}{
			{"first step", execForm("/bin/true", two, bad), 0, unix.EBADF},
			{"execve", execForm("/no/such/file", two), len(execForm("", two).Steps) - 1, unix.ENOENT},
			{"killed", execForm("/bin/true", two, // by strict seccomp at the next call
				Step{Nr: unix.SYS_PRCTL, Args: [6]uint64{unix.PR_SET_SECCOMP, 1}}, Step{Nr: unix.SYS_GETPID}), 1, unix.EINTR},
		} {
			_, err := startForm(t, tt.form)
			var f *Failed
			if !errors.As(err, &f) || f.Step != tt.step || f.Errno != tt.errno || f.Left != nil {
				t.Errorf("%s, two %v: %v, want step %d %v", tt.name, two, err, tt.step, tt.errno)
			}
		}
	}
	if _, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != unix.ECHILD {
		t.Errorf("children are left: %v", err)
	}
}

func TestTimeout(t *testing.T) {
	hang := Step{Nr: unix.SYS_PPOLL}
	for _, two := range clones() {
		f := execForm("/bin/true", two, hang)
		if two { // the second child hangs
			f = execForm("/bin/true", true)
			last := f.Steps[len(f.Steps)-1]
			f.Steps = append(f.Steps[:len(f.Steps)-1], hang, last)
		}
		l, err := load(t, f)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		var watch sync.WaitGroup
		watch.Go(func() { // the time is over when it hangs
			for ; ctx.Err() == nil; time.Sleep(time.Millisecond) {
				if now := atomic.LoadUint64(&l.status().progress); l.steps[now].nr == unix.SYS_PPOLL {
					cancel()
				}
			}
		})
		_, err = l.Start(ctx)
		cancel()
		watch.Wait()
		var failed *Failed
		if !errors.As(err, &failed) || failed.Errno != unix.ETIMEDOUT || failed.Left != nil || f.Steps[failed.Step].Nr != unix.SYS_PPOLL {
			t.Errorf("two %v: %+v", two, err)
		}
		if _, err := l.Start(context.Background()); !errors.Is(err, ErrUsed) {
			t.Error(err)
		}
		l.Close()
	}
	if _, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != unix.ECHILD {
		t.Errorf("children are left: %v", err)
	}
}

// A status page that a container wrote: nothing in it is believed.
func TestForgedStatus(t *testing.T) {
	l, err := load(t, execForm("/bin/true", true))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := &running{l: l}
	for _, v := range []uint64{0, 1, 5, 1 << 40, ^uint64(0) - 1, ^uint64(0)} {
		*l.status() = status{errno: v, failed: v, progress: v, noted: v}
		var f *Failed
		if err := r.ended(); err != nil && (!errors.As(err, &f) || f.Step < 0 || f.Step >= len(l.origin)) {
			t.Errorf("%x: %v", v, err)
		}
	}
}

// runnerSize must hold the code: what is not kept is unmapped under it.
func TestRunnerSize(t *testing.T) {
	start := runnerAddr()
	end := start
	for runtime.FuncForPC(end) != nil && strings.HasSuffix(runtime.FuncForPC(end).Name(), ".cloneRun") {
		end++
	}
	if n := end - start; n == 0 || n > runnerSize {
		t.Errorf("the runner is %d bytes long, runnerSize is %d", n, runnerSize)
	}
}

// The ranges to unmap and those that are kept cover everything below the top, once.
func TestUnmapList(t *testing.T) {
	l, err := load(t, execForm("/bin/true", true))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	list := l.unmapList()
	if len(list) > maxUnmaps {
		t.Errorf("%d ranges, room for %d", len(list), maxUnmaps)
	}
	p := uint64(os.Getpagesize())
	at := uint64(0)
	for _, s := range list {
		if s.lo < at || s.hi <= s.lo || s.lo%p != 0 || s.hi%p != 0 {
			t.Errorf("range %x-%x after %x", s.lo, s.hi, at)
		}
		for _, k := range []span{l.code.span(), l.image.span(), l.pages.span()} {
			if s.lo < k.hi && k.lo < s.hi {
				t.Errorf("%x-%x is of the program", s.lo, s.hi)
			}
		}
		at = s.hi
	}
}

func TestLoadRefuses(t *testing.T) {
	good := execForm("/bin/true", false)
	word := func(i int, v uint64) func([]byte) []byte {
		return func(b []byte) []byte {
			binary.NativeEndian.PutUint64(b[8*i:], v)
			return b
		}
	}
	for name, change := range map[string]func([]byte) []byte{
		"no magic":       word(headMagic, 1),
		"steps":          word(headSteps, 1<<60),
		"no steps":       word(headSteps, 0),
		"relocations":    word(headRelocs, 1<<61),
		"data":           word(headData, 1<<62),
		"descriptors":    word(headFds, 1),
		"CLONE_VM":       word(headClone, unix.CLONE_VM),
		"cgroup":         word(headCgroup, 9),
		"offers":         word(headOffers, 99),
		"flags":          word(headerWords+9, 1<<40),
		"call":           word(headerWords, 1<<40),
		"argument":       word(headerWords+1, 1<<40),
		"kind":           word(headerWords+7, 15),
		"slot":           word(headerWords+7, KindSlot),
		"where relocate": word(headerWords+encWords, 1<<50),
		"unaligned":      word(headerWords+encWords, 9),
		"what relocate":  word(headerWords+encWords+1, KindSlot),
		"cut":            func(b []byte) []byte { return b[:len(b)-8] },
		"longer":         func(b []byte) []byte { return append(b, 0) },
		"short":          func(b []byte) []byte { return b[:40] },
	} {
		fd, err := linux.SealedMemfd("test", change(good.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Load(fd, nil); !errors.Is(err, ErrForm) {
			t.Errorf("%s: %v", name, err)
		}
		unix.Close(fd)
	}
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	unix.Write(fd, good.Encode())
	if _, err := Load(fd, nil); !errors.Is(err, ErrForm) {
		t.Errorf("not sealed: %v", err)
	}
}

func FuzzLoad(f *testing.F) {
	for _, two := range []bool{false, true} {
		f.Add(execForm("/bin/true", two).Encode())
	}
	with := execForm("/bin/true", false)
	with.Services = []Service{{Kind: ServiceFetch}, {Kind: ServiceIDMaps, UID: "0 0 1\n", GID: "0 0 1\n"}}
	with.Fds = 1
	f.Add(with.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		fd, err := linux.SealedMemfd("fuzz", b)
		if err != nil {
			t.Skip()
		}
		defer unix.Close(fd)
		for _, fds := range [][]int{nil, {99}} {
			l, err := Load(fd, fds)
			if err != nil {
				if !errors.Is(err, ErrForm) {
					t.Fatal(err)
				}
				continue
			}
			l.Close()
		}
	})
}
