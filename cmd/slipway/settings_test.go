package main

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFlagsBeatTheFile(t *testing.T) {
	path := writeConfig(t, "root = \"/a\"\nstate = \"/b\"\ncni_bin_dirs = [\"/x\"]\n")
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	s := newSettings(flags)
	s.add(flags, "root", "root", "")
	s.addList(flags, "cni-bin-dir", "cni_bin_dirs", "")
	if err := flags.Parse([]string{"--config", path, "--root", "/c", "--root", "/d", "--cni-bin-dir", "/y", "--cni-bin-dir=/z"}); err != nil {
		t.Fatal(err)
	}
	c, err := s.load()
	if err != nil {
		t.Fatal(err)
	}
	if c.Root != "/d" || c.State != "/b" {
		t.Errorf("root is %q, state is %q; want the last flag, and the file", c.Root, c.State)
	}
	if d := cmp.Diff([]string{"/y", "/z"}, c.CNIBinDirs); d != "" {
		t.Error(d)
	}
}
