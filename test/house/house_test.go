package house

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var root = filepath.Join("..", "..")

func TestFiles(t *testing.T) {
	c := newChecker()
	files := 0
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return skip(name, rel, d.Name())
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		source, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		files++
		c.file(filepath.ToSlash(rel), source)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 100 {
		t.Errorf("saw %d files: is this the repository?", files)
	}
	for _, w := range c.finish() {
		t.Error(w)
	}
}

// skip leaves out what go build leaves out: other modules, hidden folders, test
// data; and bin, which is not in the repository.
func skip(name, rel, base string) error {
	if rel == "." {
		return nil
	}
	if strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "testdata" || base == "vendor" || rel == "bin" {
		return filepath.SkipDir
	}
	if _, err := os.Stat(filepath.Join(name, "go.mod")); err == nil {
		return filepath.SkipDir
	}
	return nil
}

func TestRoomsAreOrdered(t *testing.T) {
	var above []string
	for _, r := range rooms {
		for want := range strings.FieldsSeq(r.mayImport) {
			if !slices.Contains(above, want) {
				t.Errorf("%s may import %s, which is not above it", r.path, want)
			}
		}
		above = append(above, r.path)
	}
	for _, o := range only {
		for r := range strings.FieldsSeq(o.rooms) {
			if !slices.Contains(above, r) {
				t.Errorf("%s is granted to %s, which is no room", o.path, r)
			}
		}
	}
}

// What the keeper links lives as long as the node: a small, dull program.
func TestKeeperLinksLittle(t *testing.T) {
	foreign := foreignDeps(t, "./cmd/slipway-keeper")
	for _, dep := range foreign {
		if !slices.Contains(keeperLinks, dep) {
			t.Errorf("the keeper links %s", dep)
		}
	}
	allowed, _ := roomOf("sandbox/keeper")
	for _, dep := range ourDeps(t, "./cmd/slipway-keeper") {
		if dep != "sandbox/keeper" && dep != "cmd/slipway-keeper" && !listed(allowed, dep) {
			t.Errorf("the keeper links %s", dep)
		}
	}
}

// goList runs go list for the daemon's own platform and returns its lines.
func goList(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %s: %v", args, err)
	}
	return strings.Fields(string(out))
}

// foreignDeps are the packages a command links from neither the standard library
// nor here. golang.org/x packages inside the standard library say so by "vendor/".
func foreignDeps(t *testing.T, command string) []string {
	t.Helper()
	deps := goList(t, "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", command)
	return slices.DeleteFunc(deps, func(dep string) bool { return strings.HasPrefix(dep, module+"/") })
}

func ourDeps(t *testing.T, command string) []string {
	t.Helper()
	var ours []string
	for _, dep := range goList(t, "-deps", command) {
		if name, ok := strings.CutPrefix(dep, module+"/"); ok {
			ours = append(ours, name)
		}
	}
	return ours
}
