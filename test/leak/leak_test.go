package leak

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestLeftNamesWhatIsNewChangedAndGone(t *testing.T) {
	before := Snapshot{"link: lo": "", "sysctl: a": "1", "mount: /x (ext4)": "1", "process: 7 sh": "", "sysctl: b": "2"}
	after := Snapshot{"link: lo": "", "sysctl: a": "0", "link: veth1": "", "mount: /x (ext4)": "2", "sysctl: b": "2", "sysctl: net/netfilter/new": "1"}
	want := []string{"link: veth1", "mount: /x (ext4) was 1, is 2", "sysctl: a was 1, is 0"}
	if got := before.Left(after); !slices.Equal(got, want) {
		t.Errorf("left = %q, want %q", got, want)
	}
	if got := after.Left(before); !slices.Contains(got, "gone: link: veth1") {
		t.Errorf("left = %q, want the link to be gone", got)
	}
	if got := before.Left(before); len(got) != 0 {
		t.Errorf("left = %q of nothing", got)
	}
}

func TestTakeSeesAFile(t *testing.T) {
	dir := t.TempDir()
	scope := Scope{Dirs: []string{dir}}
	before := Snapshot{}
	if err := files(t.Context(), scope, before); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "left")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	after := Snapshot{}
	if err := files(t.Context(), scope, after); err != nil {
		t.Fatal(err)
	}
	if got := before.Left(after); !slices.Equal(got, []string{"file: " + file}) {
		t.Errorf("left = %q, want the file", got)
	}
}
