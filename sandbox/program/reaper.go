package program

import (
	"context"
	"encoding/binary"
	"runtime"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"slipway/sandbox/linux"
	"slipway/sandbox/program/runner"
)

// Reaper builds PID 1 of a pod's shared PID namespace: a program of some hundred
// bytes that sleeps for ever, while the kernel reaps for it (SIGCHLD ignored).
type Reaper struct {
	// Join are the pod's namespaces, as in Container; others but pid and mount are the host's.
	Join        map[specs.LinuxNamespaceType]int
	Cgroup      Cgroup
	OOMScoreAdj *int // nil: 0
}

// reaperID is the user that nobody else is: containers cannot signal or trace it without capabilities.
const reaperID = 65535

// Build writes the program: one clone, an empty read-only root with a procfs from
// which the pod's containers get theirs, no capability, no descriptor.
func (r *Reaper) Build(_ context.Context) (*Program, error) {
	a := newAssembly()
	p := newProgram(a)
	if err := r.build(a); err != nil {
		_ = p.Close()
		return nil, err
	}
	return p, nil
}

func (r *Reaper) build(a *assembly) error {
	image, err := linux.SealedMemfd("pod", reaperELF(runtime.GOARCH))
	if err != nil {
		return err
	}
	a.own(image)
	proc, err := linux.Proc()
	if err != nil {
		return err
	}
	a.own(proc)
	root, procDir, err := r.root(a)
	if err != nil {
		return err
	}
	masks, err := r.masks(a)
	if err != nil {
		return err
	}
	null, err := hostNull()
	if err != nil {
		return err
	}
	a.own(null)
	adj := 0
	if r.OOMScoreAdj != nil {
		adj = *r.OOMScoreAdj
	}
	id := &identity{uid: reaperID, gid: reaperID, noNewPrivs: true}
	a.form.Clone = unix.CLONE_NEWNS | unix.CLONE_NEWPID
	return run([]phase{
		{"signals", "", do(a.signals)},
		{"children", "the kernel reaps what nobody waits for", do(func() { ignoreChildren(a) })},
		{"cgroups", "", do(func() { a.joinCgroups(r.Cgroup) })},
		{"oom score", "", do(func() { a.oomScore(proc, adj) })},
		{"namespaces", "", do(func() { r.join(a) })},
		{"root", "", do(func() { a.attachRoot(root) })},
		{"proc", "read-only and masked: a container with CAP_SYS_PTRACE can look at it through /proc/1/root", do(func() { showProc(a, procDir, masks, null) })},
		{"new root", "", do(a.enterRoot)},
		{"plain", "", do(func() { a.plain(0o022); a.keyring() })},
		{"identity", "", do(func() { a.identity(id); a.capabilities(id, filterNone) })},
		{"session", "", do(func() { a.session(false) })},
		{"exec", "", do(func() { execMemfd(a, image, []string{"pod"}, nil) })},
	})
}

// root is a tmpfs with one directory.
func (r *Reaper) root(a *assembly) (root, procDir int, err error) {
	root, err = linux.NewFS("tmpfs", noDevices, linux.Option{Key: "mode", Value: "555"}, linux.Option{Key: "nr_inodes", Value: "3"})
	if err != nil {
		return -1, -1, err
	}
	a.own(root)
	s, err := linux.NewTree(root).Find("/proc", linux.Want{Make: true, Strict: true})
	if err != nil {
		return -1, -1, err
	}
	a.own(s.Fd)
	return root, s.Fd, linux.SetAttr(root, false, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
}

// masks are mounts over the files of /proc that tell of the host.
func (r *Reaper) masks(a *assembly) ([]mask, error) {
	c := &container{Container: &Container{Spec: &specs.Spec{Mounts: []specs.Mount{{Destination: "/proc", Type: "proc"}}}}, a: a}
	return c.findMasks([]string{"/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/latency_stats", "/proc/sched_debug"})
}

func (r *Reaper) join(a *assembly) {
	flags := cloneFlags()
	for _, t := range []specs.LinuxNamespaceType{specs.NetworkNamespace, specs.IPCNamespace, specs.UTSNamespace} {
		if f, ok := r.Join[t]; ok && f >= 0 {
			a.about("").call("join "+string(t)+" namespace", unix.SYS_SETNS, fd(f), flags[t])
		}
	}
	a.call("make cgroup namespace", unix.SYS_UNSHARE, unix.CLONE_NEWCGROUP)
}

func showProc(a *assembly, procDir int, masks []mask, null int) {
	a.about("/proc")
	m := a.kernelFS("proc", noDevices|unix.MOUNT_ATTR_RDONLY)
	a.attach("mount", m, fd(procDir))
	c := &container{a: a, targets: map[string]slot{"proc": m}}
	c.hidePaths(masks, null, -1)
}

func ignoreChildren(a *assembly) {
	const ignore = 1 // SIG_IGN
	a.call("ignore SIGCHLD", unix.SYS_RT_SIGACTION, int(unix.SIGCHLD), a.words(ignore, 0, 0, 0), 0, 8)
}

// execMemfd ends a program in the execution of a sealed memfd, with nothing open.
func execMemfd(a *assembly, image int, argv, env []string) {
	a.about(argv[0])
	a.call("close descriptors on exec", unix.SYS_CLOSE_RANGE, 0, 0xffffffff, unix.CLOSE_RANGE_CLOEXEC)
	a.call("exec", unix.SYS_EXECVEAT, fd(image), "", a.pointers(argv), a.pointers(env), unix.AT_EMPTY_PATH)
	a.last().Flags |= runner.FlagExec
}

// reaperELF is the whole program: wait for ever.
func reaperELF(arch string) []byte {
	machine, align := uint16(62), uint64(4096)
	code := []byte{
		0xb8, 34, 0, 0, 0, // mov eax, pause
		0x0f, 0x05, // syscall
		0xeb, 0xf7, // again
	}
	if arch == "arm64" {
		machine, align = 183, 65536
		code = nil
		for _, instruction := range []uint32{
			0xd2800000, 0xd2800001, 0xd2800002, 0xd2800003, 0xd2800004, // x0..x4 = 0
			0xd2800928, // x8 = ppoll
			0xd4000001, // svc
			0x17fffff9, // again
		} {
			code = binary.LittleEndian.AppendUint32(code, instruction)
		}
	}
	const header, base = 64 + 56, 0x400000
	le := binary.LittleEndian
	b := make([]byte, header, header+len(code))
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], 2) // an executable
	le.PutUint16(b[18:], machine)
	le.PutUint32(b[20:], 1)
	le.PutUint64(b[24:], base+header) // entry
	le.PutUint64(b[32:], 64)          // program header
	le.PutUint16(b[52:], 64)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], 1)
	size := uint64(header + len(code))
	le.PutUint32(b[64:], 1) // load
	le.PutUint32(b[68:], 5) // read, execute
	le.PutUint64(b[80:], base)
	le.PutUint64(b[88:], base)
	le.PutUint64(b[96:], size)
	le.PutUint64(b[104:], size)
	le.PutUint64(b[112:], align)
	return append(b, code...)
}
