// Command probe is what the tests of program run inside: it says what it finds
// itself to be, or does what its arguments ask for.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

func main() {
	if len(os.Args) < 2 {
		os.Exit(2)
	}
	for i, arg := range os.Args[1:] {
		verb, rest, _ := strings.Cut(arg, "=")
		run(verb, rest, i)
	}
}

func run(verb, rest string, _ int) {
	switch verb {
	case "facts":
		facts()
	case "cat":
		b, err := os.ReadFile(rest)
		fmt.Printf("cat %s: %q %v\n", rest, b, errno(err))
	case "write":
		f, err := os.OpenFile(rest, os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteString("x")
			f.Close()
		}
		fmt.Printf("write %s: %v\n", rest, errno(err))
	case "create":
		err := os.WriteFile(rest, []byte("made inside\n"), 0o644)
		fmt.Printf("create %s: %v\n", rest, errno(err))
	case "ls":
		es, err := os.ReadDir(rest)
		var names []string
		for _, e := range es {
			names = append(names, e.Name())
		}
		fmt.Printf("ls %s: %v %v\n", rest, names, errno(err))
	case "link":
		l, err := os.Readlink(rest)
		fmt.Printf("link %s: %s %v\n", rest, l, errno(err))
	case "stat":
		var st syscall.Stat_t
		err := syscall.Stat(rest, &st)
		fmt.Printf("stat %s: %o %d:%d %d:%d %v\n", rest, st.Mode, st.Rdev>>8, st.Rdev&0xff, st.Uid, st.Gid, errno(err))
	case "remount": // read-write again
		fmt.Printf("remount %s: %v\n", rest, errno(syscall.Mount("none", rest, "", syscall.MS_REMOUNT|syscall.MS_BIND, "")))
	case "reconfigure": // the file system itself
		fmt.Printf("reconfigure %s: %v\n", rest, errno(syscall.Mount("none", rest, "", syscall.MS_REMOUNT, "")))
	case "setattr":
		fmt.Printf("setattr %s: %v\n", rest, setattr(rest))
	case "umount":
		fmt.Printf("umount %s: %v\n", rest, errno(syscall.Unmount(rest, syscall.MNT_DETACH)))
	case "move":
		fmt.Printf("move %s: %v\n", rest, errno(syscall.Mount(rest, "/tmp", "", syscall.MS_MOVE, "")))
	case "bind":
		fmt.Printf("bind %s: %v\n", rest, errno(syscall.Mount(rest, "/tmp", "", syscall.MS_BIND, "")))
	case "fresh":
		fmt.Printf("fresh %s: %v\n", rest, errno(syscall.Mount(rest, "/tmp", rest, 0, "")))
	case "unshare": // the mount namespace, for what follows
		runtime.LockOSThread()
		fmt.Printf("unshare: %v\n", errno(syscall.Unshare(syscall.CLONE_NEWNS)))
	case "mknod":
		fmt.Printf("mknod %s: %v\n", rest, errno(syscall.Mknod(rest, syscall.S_IFCHR|0o666, 1<<8|3)))
	case "mounts":
		b, _ := os.ReadFile("/proc/self/mountinfo")
		fmt.Printf("%s", b)
	case "kill":
		n, _ := strconv.Atoi(rest)
		_ = syscall.Kill(os.Getpid(), syscall.Signal(n))
	case "wait":
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM)
		fmt.Println("ready")
		select {
		case <-c:
		case <-time.After(time.Minute):
		}
	case "stalk":
		n, _ := strconv.Atoi(rest)
		stalk(n)
	case "ctty":
		f, err := os.OpenFile("/dev/tty", os.O_WRONLY, 0)
		fmt.Printf("ctty: %v\n", errno(err))
		if err == nil {
			fmt.Fprintln(f, "to the terminal")
			f.Close()
		}
	case "exit":
		n, _ := strconv.Atoi(rest)
		os.Exit(n)
	}
}

// stalk looks at the newest processes again and again, until the one with a
// number has ended, and says of which one it could read more than it should: a
// program that is not this one.
func stalk(until int) {
	runtime.LockOSThread()
	fmt.Println("ready")
	found := map[string]bool{}
	last, watched := os.Getpid(), "/proc/"+strconv.Itoa(until)
	b := make([]byte, 256)
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		for pid := last - 1; pid <= last+4; pid++ {
			dir := "/proc/" + strconv.Itoa(pid)
			n, err := syscall.Readlink(dir+"/exe", b)
			if err == syscall.ENOENT {
				continue
			}
			if pid > last {
				last, pid = pid, pid-2
			}
			if exe := string(b[:max(n, 0)]); err == nil && exe != "/bin/probe" && exe != "" && !found[exe] {
				found[exe] = true
				fds, err := os.ReadDir(dir + "/fd")
				fmt.Printf("found %s, %d descriptors, %v\n", exe, len(fds), err)
			}
		}
		if _, err := os.Stat(watched); err != nil {
			break
		}
	}
	fmt.Println("stalked")
}

// setattr clears read-only by mount_setattr.
func setattr(path string) error {
	const nr, cwd, readonly = 442, -100, 1
	p, err := syscall.BytePtrFromString(path)
	if err != nil {
		return err
	}
	attr := [4]uint64{0, readonly, 0, 0}
	at := cwd
	_, _, e := syscall.Syscall6(nr, uintptr(at), uintptr(unsafe.Pointer(p)), 0, uintptr(unsafe.Pointer(&attr)), 32, 0)
	if e != 0 {
		return e
	}
	return nil
}

func errno(err error) error {
	for err != nil {
		if e, ok := err.(syscall.Errno); ok {
			return e
		}
		u, ok := err.(interface{ Unwrap() error })
		if !ok {
			return err
		}
		err = u.Unwrap()
	}
	return nil
}

// facts prints what every process must begin with.
func facts() {
	b, _ := os.ReadFile("/proc/self/status")
	for _, l := range strings.Split(string(b), "\n") {
		k, v, _ := strings.Cut(l, ":")
		switch k {
		case "Uid", "Gid", "Groups", "Umask", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "SigBlk", "SigIgn", "NSpid", "NSsid":
			fmt.Printf("%s=%s\n", k, strings.Join(strings.Fields(v), " "))
		}
	}
	for _, l := range []string{"oom_score_adj", "cgroup"} {
		b, _ := os.ReadFile("/proc/self/" + l)
		fmt.Printf("%s=%s\n", l, strings.Join(strings.Fields(string(b)), " "))
	}
	b, _ = os.ReadFile("/proc/self/limits")
	for _, l := range strings.Split(string(b), "\n") {
		if strings.HasPrefix(l, "Max open files") || strings.HasPrefix(l, "Max core") {
			fmt.Println(strings.Join(strings.Fields(l), " "))
		}
	}
	var fds []string
	es, _ := os.ReadDir("/proc/self/fd")
	for _, e := range es {
		l, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err != nil || strings.Contains(l, "eventpoll") || strings.Contains(l, "eventfd") || strings.HasPrefix(l, "/proc/") {
			continue // the Go runtime's own, and the directory that is being read
		}
		fds = append(fds, e.Name())
	}
	sort.Strings(fds)
	wd, _ := os.Getwd()
	host, _ := os.Hostname()
	fmt.Printf("fds=%s\ncwd=%s\nhost=%s\n", strings.Join(fds, " "), wd, host)
	pgid, _ := syscall.Getpgid(0)
	fmt.Printf("pid=%d leader=%v\n", os.Getpid(), pgid == os.Getpid())
}
