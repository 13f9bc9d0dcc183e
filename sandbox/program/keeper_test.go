package program

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// underKeeper starts a program from a keeper in its empty mount namespace, as
// it will be, and returns what both wrote.
func underKeeper(t *testing.T, p *Program, o *output) string {
	t.Helper()
	built, err := tools()
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(filepath.Join(built, "keeper"))
	if err != nil {
		t.Fatal(err)
	}
	memfd, err := p.Seal()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(memfd)
	waits, looked, err := os.Pipe() // until this pipe is closed
	if err != nil {
		t.Fatal(err)
	}
	defer waits.Close()
	defer looked.Close()
	files := append([]int{int(waits.Fd()), o.w, o.w, memfd}, p.Fds()...)
	pid, pidfd, err := StartKeeper(t.Context(), Keeper{
		Binary: binary, Args: []string{"keeper", fmt.Sprint(len(p.Fds()))}, Env: []string{"X=1"}, Files: files,
	})
	if err != nil {
		t.Fatal(err)
	}
	end(t, Child{Pid: pid, Pidfd: pidfd})
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if !strings.Contains(exe, "memfd:keeper") {
		t.Errorf("the keeper runs from %q, %v", exe, err)
	}
	looked.Close()
	text := o.all(t)
	var step, errno int
	if i := strings.Index(text, "failed "); i >= 0 {
		_, _ = fmt.Sscanf(text[i:], "failed %d %d", &step, &errno)
		t.Fatalf("%v\n%s", p.Failure(step, unix.Errno(errno)), text)
	}
	return text
}

func TestContainerUnderKeeper(t *testing.T) {
	root := image(t)
	o := newOutput(t)
	src := t.TempDir()
	os.WriteFile(src+"/f", []byte("from the host"), 0o644)
	for _, name := range []string{"private pid", "host pid"} {
		t.Run(name, func(t *testing.T) {
			o = newOutput(t)
			s := testSpec("facts", "cat=/data/f", "mounts")
			if name == "host pid" {
				s.Linux.Namespaces = s.Linux.Namespaces[1:]
			}
			c := &Container{
				Spec: s, Root: root, PidInit: -1, Cgroup: noCgroup(), Stdio: o.stdio(),
				Volumes: []Volume{{Destination: "/data", Source: src}},
			}
			p, err := c.Build(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			text := underKeeper(t, p, o)
			for _, want := range []string{"keeper: root [] <nil>", "fds=0 1 2\n", "from the host", "leader=true"} {
				if !strings.Contains(text, want) {
					t.Errorf("no %q in\n%s", want, text)
				}
			}
			if strings.Contains(text, t.TempDir()+" ") {
				t.Error("a mount of the host is in the container")
			}
		})
	}
}

func TestPodUnderKeeper(t *testing.T) {
	needRoot(t)
	o := newOutput(t)
	p, err := (&Pod{Net: true, IPC: true, UTS: true, Hostname: "pod"}).Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if text := underKeeper(t, p, o); !strings.Contains(text, "started, 3 offered") {
		t.Error(text)
	}
}
