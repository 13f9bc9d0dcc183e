package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPgrepFindsByCommandName(t *testing.T) {
	proc := t.TempDir()
	for pid, comm := range map[string]string{"10": "sleep", "9": "sleep", "11": "top"} {
		if err := os.MkdirAll(filepath.Join(proc, pid), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(proc, pid, "comm"), []byte(comm+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var out strings.Builder
	found, err := pgrep(&out, proc, []string{"sleep"})
	if err != nil || !found || out.String() != "9\n10\n" {
		t.Errorf("pgrep sleep: %v, %v, %q", found, err, out.String())
	}
	if found, err := pgrep(&out, proc, []string{"nothing"}); found || err != nil {
		t.Errorf("pgrep nothing: %v, %v", found, err)
	}
}

func TestIpcsListsSegmentsByID(t *testing.T) {
	file := filepath.Join(t.TempDir(), "shm")
	text := "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid\n" +
		"       -17         42   644              1048576   100     0      0     0     0     0     0\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := ipcs(&out, file); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.Contains(got, "0xffffffef 42 ") || !strings.Contains(got, "1048576") {
		t.Errorf("ipcs printed %q", got)
	}
}
