package sandbox

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"slipway/sandbox/linux"
)

func TestATornLineIsCutOff(t *testing.T) {
	long := strings.Repeat("x", tornLimit+10)
	for name, tt := range map[string]struct{ before, after string }{
		"empty":          {"", ""},
		"whole":          {"a\nb\n", "a\nb\n"},
		"torn":           {"a\nb\nc", "a\nb\n"},
		"torn first":     {"c", ""},
		"after a window": {long + "\nc", long + "\n"},
		"not ours":       {long, long},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "log")
			if err := os.WriteFile(path, []byte(tt.before), 0o600); err != nil {
				t.Fatal(err)
			}
			fd, err := linux.OpenLog(path)
			if err != nil {
				t.Fatal(err)
			}
			defer syscall.Close(fd)
			if err := mendLog(fd); err != nil {
				t.Fatal(err)
			}
			if got, _ := os.ReadFile(path); string(got) != tt.after {
				t.Errorf("%d bytes left, want %d", len(got), len(tt.after))
			}
		})
	}
}
