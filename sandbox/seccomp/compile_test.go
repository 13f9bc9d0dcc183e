package seccomp

import (
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// samples are argument values around every value that a profile compares with.
func samples(s *specs.LinuxSeccomp) []uint64 {
	set := map[uint64]bool{0: true, 1: true, 1 << 32: true, ^uint64(0): true}
	for _, c := range s.Syscalls {
		for _, a := range c.Args {
			for _, v := range []uint64{a.Value, a.ValueTwo, a.Value & a.ValueTwo} {
				for _, w := range []uint64{v, v - 1, v + 1, v ^ 1<<32, v | 1<<40, uint64(uint32(v)), ^v} {
					set[w] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// arguments gives some combinations of samples, the same on every run.
func arguments(s *specs.LinuxSeccomp, n int) [][6]uint64 {
	values := samples(s)
	r := rand.New(rand.NewPCG(1, 2))
	var out [][6]uint64
	for i := 0; i < len(values); i += 1 + len(values)/200 {
		v := values[i]
		out = append(out, [6]uint64{v, v, v, v, v, v})
	}
	for range n {
		var a [6]uint64
		for i := range a {
			a[i] = values[r.IntN(len(values))]
		}
		out = append(out, a)
	}
	return out
}

func numbersToTry(a *abi) []uint32 {
	var out []uint32
	for nr := range uint32(600) {
		out = append(out, nr|a.bit)
	}
	for _, nr := range a.numbers {
		out = append(out, nr|a.bit, (nr+1)|a.bit)
	}
	return out
}

// dependsOnArguments marks the numbers that are worth many arguments.
func dependsOnArguments(s *specs.LinuxSeccomp, a *abi) map[uint32]bool {
	out := map[uint32]bool{x86Socketcall: a.mux, x86IPC: a.mux}
	for _, c := range s.Syscalls {
		for _, name := range c.Names {
			if nr, ok := a.number(name); ok && len(c.Args) > 0 {
				out[nr] = true
			}
		}
	}
	return out
}

func TestFilterSaysWhatTheProfileSays(t *testing.T) {
	for name, s := range profiles(t) {
		for goarch, family := range families {
			t.Run(name+"/"+goarch, func(t *testing.T) {
				f, err := compile(s, goarch)
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("%d instructions", len(f.Program)/8)
				wanted, err := wantedABIs(s, family)
				if err != nil {
					t.Fatal(err)
				}
				args := arguments(s, 100)
				for _, a := range wanted {
					depends := dependsOnArguments(s, a)
					for _, nr := range numbersToTry(a) {
						some := args
						if !depends[nr] {
							some = args[:2]
						}
						for _, arg := range some {
							got := interpret(t, f.Program, data{nr: nr, arch: a.audit, args: arg})
							if want := reference(s, a, nr, arg); got != want {
								t.Fatalf("%s %d %#x: %#x, want %#x", a.name, nr, arg, got, want)
							}
						}
					}
				}
			})
		}
	}
}

func TestArchitectures(t *testing.T) {
	allow := []specs.LinuxSyscall{entry(specs.ActAllow, []string{"read", "write"})}
	native := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: allow}
	all := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: allow, Architectures: x86Arches}
	open := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow}
	eperm := actErrno | 1
	for _, c := range []struct {
		name string
		s    *specs.LinuxSeccomp
		d    data
		want uint32
	}{
		{"own", native, data{nr: 0, arch: auditX86_64}, actAllow},
		{"named i386", all, data{nr: 3, arch: auditX86}, actAllow},
		{"i386 left out", native, data{nr: 3, arch: auditX86}, actKillThread},
		{"another machine", all, data{nr: 63, arch: auditAARCH64}, actKillThread},
		{"open profile, i386 left out", open, data{nr: 3, arch: auditX86}, actKillThread},
		{"x32 left out", native, data{nr: x32Bit, arch: auditX86_64}, actKillThread},
		{"x32 left out, open", open, data{nr: x32Bit, arch: auditX86_64}, actKillThread},
		{"x32 named", all, data{nr: x32Bit, arch: auditX86_64}, actAllow},
		{"x32 unnamed call", all, data{nr: x32Bit | 2, arch: auditX86_64}, actENOSYS},
		{"number -1, skipped by a tracer", native, data{nr: ^uint32(0), arch: auditX86_64}, eperm},
		{"number -1, x32 named", all, data{nr: ^uint32(0), arch: auditX86_64}, actENOSYS},
		{"too new", native, data{nr: 2, arch: auditX86_64}, actENOSYS},
		{"bit 31", native, data{nr: 1 << 31, arch: auditX86_64}, actENOSYS},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := compile(c.s, "amd64")
			if err != nil {
				t.Fatal(err)
			}
			if got := interpret(t, f.Program, c.d); got != c.want {
				t.Errorf("%#x, want %#x", got, c.want)
			}
		})
	}
}

// precedenceProfile has rules that disagree about one call.
func precedenceProfile() *specs.LinuxSeccomp {
	return &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{
		entry(specs.ActAllow, []string{"ioctl"}, arg(1, specs.OpGreaterThan, 10)),
		entry(specs.ActTrap, []string{"ioctl"}, arg(1, specs.OpEqualTo, 20)),
		entry(specs.ActLog, []string{"ioctl"}, arg(1, specs.OpGreaterThan, 30)),
		entry(specs.ActKillProcess, []string{"ioctl"}, arg(2, specs.OpEqualTo, 7)),
		entry(specs.ActLog, []string{"fcntl"}, arg(1, specs.OpLessThan, 30)),
		entry(specs.ActAllow, []string{"fcntl"}, arg(1, specs.OpLessThan, 10)),
		entry(specs.ActTrap, []string{"prctl"}, arg(0, specs.OpEqualTo, 1), arg(1, specs.OpEqualTo, 2)),
		entry(specs.ActLog, []string{"prctl"}, arg(0, specs.OpEqualTo, 2)),
	}}
}

// Which of them wins: see the comment at type call.
func TestPrecedence(t *testing.T) {
	nr := func(name string) uint32 { n, _ := families["amd64"][0].number(name); return n }
	f, err := compile(precedenceProfile(), "amd64")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args [6]uint64
		want uint32
	}{
		{"ioctl", [6]uint64{0, 5}, actErrno | 1},
		{"ioctl", [6]uint64{0, 11}, actAllow},
		{"ioctl", [6]uint64{0, 20}, actTrap},
		{"ioctl", [6]uint64{0, 31}, actLog},
		{"ioctl", [6]uint64{0, 31, 7}, actKillProcess},
		{"fcntl", [6]uint64{0, 5}, actAllow},
		{"fcntl", [6]uint64{0, 15}, actLog},
		{"prctl", [6]uint64{1, 2}, actTrap},
		{"prctl", [6]uint64{1, 3}, actErrno | 1},
		{"prctl", [6]uint64{2, 2}, actLog},
	} {
		got := interpret(t, f.Program, data{nr: nr(c.name), arch: auditX86_64, args: c.args})
		if got != c.want {
			t.Errorf("%s%v: %#x, want %#x", c.name, c.args, got, c.want)
		}
	}
}

func TestRefused(t *testing.T) {
	ok := func() *specs.LinuxSeccomp { return &specs.LinuxSeccomp{DefaultAction: specs.ActErrno} }
	var long []specs.LinuxSyscall
	for i := range uint64(1500) {
		long = append(long, entry(specs.ActAllow, []string{"ioctl"}, arg(1, specs.OpEqualTo, i<<32|i)))
	}
	for _, c := range []struct {
		name, want string
		change     func(*specs.LinuxSeccomp)
	}{
		{"no default", `default action: unknown action ""`, func(s *specs.LinuxSeccomp) { s.DefaultAction = "" }},
		{"notify", "not supported", func(s *specs.LinuxSeccomp) {
			s.Syscalls = []specs.LinuxSyscall{entry(specs.ActNotify, []string{"read"})}
		}},
		{"default notify", "not supported", func(s *specs.LinuxSeccomp) { s.DefaultAction = specs.ActNotify }},
		{"listener", "not supported", func(s *specs.LinuxSeccomp) { s.ListenerPath = "/run/x.sock" }},
		{"errno", "errno 4096", func(s *specs.LinuxSeccomp) { s.DefaultErrnoRet = errno(4096) }},
		{"errno of allow", "takes no errno", func(s *specs.LinuxSeccomp) {
			s.Syscalls = []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActAllow, ErrnoRet: errno(1)}}
		}},
		{"flag", `unknown flag "SECCOMP_FILTER_FLAG_NEW_LISTENER"`, func(s *specs.LinuxSeccomp) {
			s.Flags = []specs.LinuxSeccompFlag{"SECCOMP_FILTER_FLAG_NEW_LISTENER"}
		}},
		{"architecture", `unknown architecture "SCMP_ARCH_VAX"`, func(s *specs.LinuxSeccomp) { s.Architectures = []specs.Arch{"SCMP_ARCH_VAX"} }},
		{"argument", "index 6", func(s *specs.LinuxSeccomp) {
			s.Syscalls = []specs.LinuxSyscall{entry(specs.ActAllow, []string{"read"}, arg(6, specs.OpEqualTo, 1))}
		}},
		{"operator", `unknown operator "=="`, func(s *specs.LinuxSeccomp) {
			s.Syscalls = []specs.LinuxSyscall{entry(specs.ActAllow, []string{"read"}, arg(0, "==", 1))}
		}},
		{"no names", "syscalls[0]: no name", func(s *specs.LinuxSeccomp) { s.Syscalls = []specs.LinuxSyscall{entry(specs.ActAllow, nil)} }},
		{"empty name", "empty name", func(s *specs.LinuxSeccomp) { s.Syscalls = []specs.LinuxSyscall{entry(specs.ActAllow, []string{""})} }},
		{"contradiction", "two actions", func(s *specs.LinuxSeccomp) {
			s.Syscalls = []specs.LinuxSyscall{
				entry(specs.ActAllow, []string{"read"}, arg(0, specs.OpEqualTo, 1)),
				entry(specs.ActTrap, []string{"read"}, arg(0, specs.OpEqualTo, 1)),
			}
		}},
		{"too long", "the kernel takes 4096", func(s *specs.LinuxSeccomp) { s.Syscalls = long }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := ok()
			c.change(s)
			_, err := Compile(s)
			if !errors.Is(err, ErrProfile) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

func TestFlags(t *testing.T) {
	f, err := Compile(&specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Flags: []specs.LinuxSeccompFlag{
		flagTsync, specs.LinuxSeccompFlagLog, specs.LinuxSeccompFlagSpecAllow,
	}})
	if err != nil || f.Flags != 2|4 {
		t.Errorf("%+v, %v; want flags 6", f, err)
	}
	if f, err := Compile(nil); f != nil || err != nil {
		t.Errorf("nil profile: %v, %v", f, err)
	}
}

// The default profile is installed at every start: its size is a promise.
func TestDefaultProfileStaysSmall(t *testing.T) {
	f, err := compile(mobyDefault(t), "amd64")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(f.Program) / 8; n > 500 {
		t.Errorf("%d instructions", n)
	}
}

func TestCache(t *testing.T) {
	var c Cache
	s := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow}
	a, err := c.Get(s)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := c.Get(&specs.LinuxSeccomp{DefaultAction: specs.ActAllow})
	if a != b {
		t.Error("an equal profile was compiled again")
	}
	for i := range 2 * cacheSize {
		if _, err := c.Get(&specs.LinuxSeccomp{DefaultAction: specs.ActErrno, DefaultErrnoRet: errno(uint(i))}); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(c.filters); n != cacheSize {
		t.Errorf("%d filters kept, want %d", n, cacheSize)
	}
	if f, err := c.Get(nil); f != nil || err != nil {
		t.Errorf("nil profile: %v, %v", f, err)
	}
	if _, err := c.Get(&specs.LinuxSeccomp{}); !errors.Is(err, ErrProfile) {
		t.Errorf("bad profile: %v", err)
	}
}
