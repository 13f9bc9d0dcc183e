package linux

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Run again below a shell that lowers the soft limit: what the runtime makes of
// it is not what was found.
func TestFoundNoFile(t *testing.T) {
	if os.Getenv("NOFILE_PROBE") != "" {
		soft, hard, err := FoundNoFile()
		if err != nil || soft != 333 || hard < soft {
			t.Fatalf("found %d, %d, %v; want 333", soft, hard, err)
		}
		return
	}
	cmd := exec.Command("/bin/sh", "-c", `ulimit -S -n 333; exec "$0" -test.run TestFoundNoFile`, os.Args[0])
	cmd.Env = append(os.Environ(), "NOFILE_PROBE=1")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "PASS") {
		t.Fatalf("%v\n%s", err, out)
	}
}
