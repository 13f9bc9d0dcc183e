package program

import (
	"fmt"
	"testing"

	mobyseccomp "github.com/moby/profiles/seccomp"

	"slipway/sandbox/linux"
	"slipway/sandbox/seccomp"
)

// The usual profile lets every start through, wherever the filter goes in: with
// and without no_new_privs, one clone and two, a terminal and none, create and exec.
func TestDefaultProfile(t *testing.T) {
	root := image(t)
	for _, nnp := range []bool{false, true} {
		for _, hostPID := range []bool{false, true} {
			t.Run(fmt.Sprintf("no_new_privs %v, host pid %v", nnp, hostPID), func(t *testing.T) {
				s := testSpec("facts", "wait")
				s.Process.NoNewPrivileges, s.Process.Terminal = nnp, true
				if hostPID {
					s.Linux.Namespaces = without(s.Linux.Namespaces, "pid")
				}
				profile, err := mobyseccomp.GetDefaultProfile(s)
				if err != nil {
					t.Fatal(err)
				}
				f, err := seccomp.Compile(profile)
				if err != nil {
					t.Fatal(err)
				}
				c := &Container{Spec: s, Root: root, PidInit: -1, Cgroup: noCgroup(), Stdio: Stdio{-1, -1, -1}, Filter: f.Program, FilterFlags: f.Flags}
				p, err := c.Build(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer p.Close()
				master, devpts := p.Terminal()
				defer linux.CloseAll(master, devpts)
				ch, err := start(t, p)
				if err != nil {
					t.Fatal(err)
				}
				end(t, ch)
				want := []string{"Seccomp=2", "CapEff=" + defaultCapsHex, "fds=0 1 2\r\n"}
				hasAll(t, (&output{r: master}).until(t, "ready"), want...)

				e := &Exec{Process: testSpec("facts").Process, Init: ch.Pidfd, Cgroup: noCgroup(), Stdio: Stdio{-1, -1, -1}, Devpts: devpts, Filter: f.Program}
				e.Process.NoNewPrivileges, e.Process.Terminal = nnp, true
				ep, err := e.Build(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer ep.Close()
				em, _ := ep.Terminal()
				defer linux.CloseAll(em)
				ech, err := start(t, ep)
				if err != nil {
					t.Fatal(err)
				}
				hasAll(t, (&output{r: em}).until(t, "leader="), want...)
				wait(t, ech)
			})
		}
	}
}
