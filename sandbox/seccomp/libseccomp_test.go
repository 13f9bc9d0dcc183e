//go:build libseccomp && amd64

package seccomp

import (
	"bytes"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Numbers of enum scmp_compare.
var libOperators = map[specs.LinuxSeccompOperator]int{
	specs.OpNotEqual: 1, specs.OpLessThan: 2, specs.OpLessEqual: 3, specs.OpEqualTo: 4,
	specs.OpGreaterEqual: 5, specs.OpGreaterThan: 6, specs.OpMaskedEqual: 7,
}

var libArches = map[specs.Arch]uint32{
	specs.ArchX86_64: auditX86_64, specs.ArchX86: auditX86, specs.ArchX32: 0x4000003e,
	specs.ArchAARCH64: auditAARCH64, specs.ArchARM: auditARM,
}

// buildHelper compiles testdata/libseccomp.c against the installed library
// (Debian: libseccomp-dev).
func buildHelper(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "libseccomp")
	out, err := exec.Command("cc", "-Wall", "-o", binary, "testdata/libseccomp.c", "-lseccomp").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return binary
}

// describe drives libseccomp as runc does.
func describe(s *specs.LinuxSeccomp, arches []specs.Arch) string {
	var b strings.Builder
	fallback, _ := verdict(s.DefaultAction, s.DefaultErrnoRet)
	fmt.Fprintln(&b, "default", fallback)
	for _, a := range arches {
		fmt.Fprintln(&b, "arch", libArches[a])
	}
	for _, c := range s.Syscalls {
		v, _ := verdict(c.Action, c.ErrnoRet)
		if v == fallback {
			continue
		}
		groups := [][]specs.LinuxSeccompArg{c.Args}
		count := make(map[uint]int)
		for _, a := range c.Args {
			if count[a.Index]++; count[a.Index] > 1 {
				groups = slices.Collect(slices.Chunk(c.Args, 1))
			}
		}
		for _, name := range c.Names {
			for _, g := range groups {
				fmt.Fprint(&b, "rule ", v, " ", name, " ", len(g))
				for _, a := range g {
					fmt.Fprint(&b, " ", a.Index, " ", libOperators[a.Op], " ", a.Value, " ", a.ValueTwo)
				}
				fmt.Fprintln(&b)
			}
		}
	}
	return b.String()
}

// without leaves names out that the installed library is too old for.
func without(s *specs.LinuxSeccomp, names []string) *specs.LinuxSeccomp {
	out := *s
	out.Syscalls = nil
	for _, c := range s.Syscalls {
		c.Names = slices.DeleteFunc(slices.Clone(c.Names), func(n string) bool { return slices.Contains(names, n) })
		if len(c.Names) > 0 {
			out.Syscalls = append(out.Syscalls, c)
		}
	}
	return &out
}

// TestAgainstLibseccomp compares verdicts, but for ENOSYS above the newest call
// of a profile, which runc adds by itself.
func TestAgainstLibseccomp(t *testing.T) {
	helper := buildHelper(t)
	cases := profiles(t)
	cases["precedence"] = precedenceProfile()
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		for goarch, family := range families {
			t.Run(name+"/"+goarch, func(t *testing.T) {
				s := cases[name]
				wanted, err := wantedABIs(s, family)
				if err != nil {
					t.Fatal(err)
				}
				var arches []specs.Arch
				for _, a := range wanted {
					arches = append(arches, a.name)
				}
				var program, unknown bytes.Buffer
				cmd := exec.Command(helper)
				cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(describe(s, arches)), &program, &unknown
				if err := cmd.Run(); err != nil {
					t.Fatalf("%v: %s", err, unknown.String())
				}
				s = without(s, strings.Fields(unknown.String()))
				f, err := compile(s, goarch)
				if err != nil {
					t.Fatal(err)
				}
				compareFilters(t, s, wanted, f.Program, program.Bytes())
			})
		}
	}
}

func compareFilters(t *testing.T, s *specs.LinuxSeccomp, wanted []*abi, ours, theirs []byte) {
	t.Helper()
	args := arguments(s, 200)
	for _, a := range wanted {
		depends := dependsOnArguments(s, a)
		for _, nr := range append(numbersToTry(a), ^uint32(0), 1<<31, 3<<30, 1<<30|5000) {
			some := args
			if !depends[nr] {
				some = args[:2]
			}
			for _, arg := range some {
				if !a.wide {
					for i := range arg {
						arg[i] = uint64(uint32(arg[i])) // as the kernel shows them
					}
				}
				d := data{nr: nr, arch: a.audit, args: arg}
				got, want := interpret(t, ours, d), interpret(t, theirs, d)
				if got != want && got != actENOSYS {
					t.Fatalf("%s %#x %#x: %#x, libseccomp %#x", a.name, nr, arg, got, want)
				}
			}
		}
	}
}
