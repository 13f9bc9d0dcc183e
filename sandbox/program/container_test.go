package program

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
)

func TestContainerFacts(t *testing.T) {
	root := image(t)
	c := &Container{Spec: testSpec("facts", "mounts"), Root: root, PidInit: -1, Cgroup: noCgroup(), NoFile: &[2]uint64{1024, 1024}}
	out, err := runContainer(t, c)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Umask=0022", "Uid=0 0 0 0", "Groups=\n", "CapInh=0000000000000000", "CapEff=" + defaultCapsHex, "CapPrm=" + defaultCapsHex,
		"CapBnd=" + defaultCapsHex, "CapAmb=0000000000000000", "SigBlk=0000000000000000", "SigIgn=0000000000000000", "fds=0 1 2\n",
		"pid=1 leader=true", "host=inside", "cwd=/\n", "oom_score_adj=0", "Max open files 1024 1024", "NoNewPrivs=0",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

func TestContainerMissingCommand(t *testing.T) {
	for _, args := range [][]string{{"/bin/nothing"}, {"nothing"}} {
		s := testSpec()
		s.Process.Args = args
		_, err := runContainer(t, &Container{Spec: s, Root: image(t), PidInit: -1, Cgroup: noCgroup()})
		var e *StepError
		if !errors.As(err, &e) || e.Step != "exec" || e.Path != args[0] || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v: %v", args, err)
		}
	}
}
