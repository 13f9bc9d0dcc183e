package crash

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/test/node"
)

// streams are containers that write numbered lines without an end.
type streams struct {
	n   *node.Node
	ids []string
}

// A line's number stands at both ends, so that a torn one shows.
const writer = `trap 'exit 9' TERM; i=0; while :; do
j=0; while [ $j -lt 100 ]; do j=$((j+1)); i=$((i+1)); echo "$i some text to make the line longer than a number $i"; done; sleep 0.01; done`

func startWriters(n *node.Node) *streams {
	s := &streams{n: n}
	cfg := n.PodConfig("writers")
	pod := n.RunPod(cfg)
	for i := range writers {
		s.ids = append(s.ids, n.Run(pod, cfg, node.Container(fmt.Sprintf("writer%d", i), writer)))
	}
	return s
}

// logs are the files that they write to.
func (s *streams) logs() []string {
	var files []string
	for _, id := range s.ids {
		files = append(files, s.n.Status(id).LogPath)
	}
	return files
}

// check ends the writers and reads what they wrote: nothing is missing, doubled
// or out of order, but for one gap at each time that both processes died.
func (s *streams) check(both int64) {
	s.n.T.Helper()
	for _, id := range s.ids {
		before := s.n.Status(id)
		if before.State != cri.ContainerState_CONTAINER_RUNNING {
			s.n.T.Errorf("a writer is %s: %v", before.State, before)
			continue
		}
		must(s.n.T, s.n.Runtime.StopContainer(s.n.T.Context(), id, 20))
		st := s.n.WaitState(id, cri.ContainerState_CONTAINER_EXITED)
		if st.ExitCode != 9 {
			s.n.T.Errorf("a writer ended with %d (%s: %s), want 9", st.ExitCode, st.Reason, st.Message)
		}
		checkStream(s.n.T, st.LogPath, both)
	}
}

func checkStream(t *testing.T, path string, both int64) {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	last, gaps, lost, bad := 0, int64(0), 0, 0
	for line := range strings.Lines(string(b)) {
		i, err := lineNumber(line)
		if err != nil {
			if bad++; bad <= 3 {
				t.Errorf("after line %d: %v", last, err)
			}
			continue
		}
		switch {
		case i == last+1:
		case i > last:
			gaps, lost = gaps+1, lost+i-last-1
		default:
			t.Errorf("line %d comes after line %d", i, last)
		}
		last = i
	}
	t.Logf("%d lines in %d bytes; %d gaps, %d lines lost, %d torn (both were killed %d times)", last, len(b), gaps, lost, bad, both)
	if gaps > both {
		t.Errorf("%d gaps, %d lines lost; both were killed %d times", gaps, lost, both)
	}
	if last < 1000 {
		t.Errorf("only %d lines", last)
	}
}

func lineNumber(line string) (int, error) {
	f := strings.SplitN(line, " ", 4)
	if len(f) != 4 || f[1] != "stdout" || f[2] != "F" {
		return 0, fmt.Errorf("not a whole line of the CRI log: %.200q", line)
	}
	words := strings.Fields(f[3])
	i, err := strconv.Atoi(words[0])
	if err != nil || words[len(words)-1] != words[0] {
		return 0, fmt.Errorf("torn: %.200q", line)
	}
	return i, nil
}
