package sandbox

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// vendorFile describes devices of v.com/gpu by their names.
func vendorFile(env string, names ...string) string {
	text := `{"cdiVersion": "0.6.0", "kind": "v.com/gpu", "containerEdits": {"env": ["ALL=` + env + `"]}, "devices": [`
	for i, n := range names {
		if i > 0 {
			text += ", "
		}
		text += `{"name": "` + n + `", "containerEdits": {"env": ["ONE=` + env + n + `"]}}`
	}
	return text + "]}"
}

// cdiTest is two directories of descriptions, and what reads them.
type cdiTest struct {
	*testing.T
	*cdiDevices
	log  bytes.Buffer
	a, b string
}

func newCDITest(t *testing.T) *cdiTest {
	x := &cdiTest{T: t, a: t.TempDir(), b: t.TempDir()}
	x.cdiDevices = newCDI([]string{x.a, x.b, filepath.Join(x.a, "none")}, slog.New(slog.NewTextHandler(&x.log, nil)))
	return x
}

func (x *cdiTest) write(dir, name, text string) {
	x.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		x.Fatal(err)
	}
}

// want asks for devices, and compares what they set.
func (x *cdiTest) want(env string, names ...string) {
	x.Helper()
	all, err := x.edits(names)
	var got []string
	for _, d := range all {
		got = append(got, d.Edits.Env...)
	}
	if err != nil || strings.Join(got, " ") != env {
		x.Errorf("%q: %q, %v, want %q", names, got, err, env)
	}
}

func (x *cdiTest) refused(want, name string) {
	x.Helper()
	if all, err := x.edits([]string{name}); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), name) {
		x.Errorf("%q: %v, %v, want %q", name, all, err, want)
	}
}

func TestCDI(t *testing.T) {
	x := newCDITest(t)
	x.refused("is not known in "+x.a+", "+x.b, "v.com/gpu=0")
	x.write(x.a, "v.json", vendorFile("a", "0", "1"))
	x.want("ALL=a ONE=a0", "v.com/gpu=0")
	x.want("ALL=a ONE=a1 ONE=a0", "v.com/gpu=1", "v.com/gpu=0")
	x.want("")
	x.refused(`known are v.com/gpu=0, v.com/gpu=1`, "v.com/gpu=2")
	x.refused("is not known", "other.com/gpu=0")

	// A later directory wins, for the device that it has.
	x.write(x.b, "v.yaml", "cdiVersion: 0.6.0\nkind: v.com/gpu\ndevices:\n- name: '0'\n  containerEdits:\n    env: [ONE=b0]\n")
	x.want("ONE=b0", "v.com/gpu=0")
	x.want("ALL=a ONE=a1", "v.com/gpu=1")

	// What changes is seen; the size alone need not tell.
	x.write(x.a, "v.json", vendorFile("c", "0", "1"))
	x.want("ALL=c ONE=c1", "v.com/gpu=1")
	if err := os.Remove(filepath.Join(x.b, "v.yaml")); err != nil {
		t.Fatal(err)
	}
	x.want("ALL=c ONE=c0", "v.com/gpu=0")

	// Two in one directory contradict each other.
	x.write(x.a, "w.json", vendorFile("d", "1"))
	x.refused("both", "v.com/gpu=1")
	x.want("ALL=c ONE=c0", "v.com/gpu=0")
	if x.log.Len() > 0 {
		t.Errorf("warned:\n%s", x.log.String())
	}
}

// A file that is of no use costs only its own devices, and is warned of once.
func TestCDIBadFiles(t *testing.T) {
	x := newCDITest(t)
	x.write(x.a, "v.json", vendorFile("a", "0"))
	for name, text := range map[string]string{
		"empty.json":      "",
		"text.yaml":       "not a description",
		"null.json":       "null",
		"list.json":       "[1]",
		"unknown.json":    `{"cdiVersion": "0.6.0", "kind": "v.com/gpu", "devices": [], "more": 1}`,
		"version.json":    `{"cdiVersion": "99.0.0", "kind": "v.com/gpu", "devices": [{"name": "x", "containerEdits": {"env": ["A=b"]}}]}`,
		"kind.json":       strings.Replace(vendorFile("k", "9"), "v.com/gpu", "../gpu", 1),
		"none.json":       vendorFile("n"),
		"twice.json":      vendorFile("t", "9", "9"),
		"name.json":       vendorFile("n", "../9"),
		"env.json":        strings.Replace(vendorFile("e", "9"), "ONE=", "", 1),
		"nullnode.json":   `{"cdiVersion": "0.6.0", "kind": "v.com/gpu", "devices": [{"name": "9", "containerEdits": {"deviceNodes": [null]}}]}`,
		"nullmount.yaml":  "cdiVersion: 0.6.0\nkind: v.com/gpu\ncontainerEdits: {mounts: [null]}\ndevices:\n- name: '9'\n  containerEdits: {env: [A=b]}\n",
		"bomb.yaml":       bomb(),
		"permission.json": `{"cdiVersion": "0.6.0", "kind": "v.com/gpu", "devices": [{"name": "9", "containerEdits": {"deviceNodes": [{"path": "/dev/x", "permissions": "rwx"}]}}]}`,
	} {
		x.write(x.a, name, text)
	}
	if err := errors.Join(
		syscall.Mkfifo(filepath.Join(x.a, "fifo.json"), 0o644),
		os.Mkdir(filepath.Join(x.a, "dir.json"), 0o755),
		os.Symlink("/nowhere", filepath.Join(x.a, "link.json")),
		os.Truncate(filepath.Join(x.a, "empty.json"), maxCDIFile+1),
	); err != nil {
		t.Fatal(err)
	}
	x.write(x.a, "ignored.txt", "{")
	x.want("ALL=a ONE=a0", "v.com/gpu=0")
	x.want("ALL=a ONE=a0", "v.com/gpu=0")
	x.refused("not usable: ", "v.com/gpu=9")
	for name, text := range map[string]string{
		"fifo.json": "not a regular file", "nullnode.json": "null", "version.json": "99.0.0", "empty.json": "larger than",
		"twice.json": "described twice", "link.json": "no such file", "bomb.yaml": "error",
	} {
		line := ""
		for l := range strings.Lines(x.log.String()) {
			if strings.Contains(l, "/"+name) {
				line += l
			}
		}
		if strings.Count(line, "\n") != 1 || !strings.Contains(line, text) {
			t.Errorf("%s: warned of as\n%s\nwant %q once", name, line, text)
		}
	}

	// Put right, it is of use.
	x.write(x.a, "twice.json", vendorFile("t", "9"))
	x.want("ALL=t ONE=t9", "v.com/gpu=9")
}

// bomb is a text of YAML that would grow to gigabytes.
func bomb() string {
	text := "a: &a [x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c < 'j'; c++ {
		was := string(c - 1)
		text += string(c) + ": &" + string(c) + " [*" + strings.Repeat(was+", *", 8) + was + "]\n"
	}
	return text
}

func TestCDIOff(t *testing.T) {
	c := newCDI(nil, slog.New(slog.DiscardHandler))
	if _, err := c.edits([]string{"v.com/gpu=0"}); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "cdi_spec_dirs") {
		t.Error(err)
	}
}

// What comes from a file is a description, or an error.
func FuzzCDIFile(f *testing.F) {
	f.Add([]byte(vendorFile("a", "0")))
	f.Add([]byte("cdiVersion: 1.1.0\nkind: a/b\ndevices: [{name: x, containerEdits: {netDevices: [null], intelRdt: {closID: /}}}]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		x := &cdiFile{}
		if err := x.parse(text); err == nil && (x.kind == "" || len(x.devices) == 0) {
			t.Errorf("%+v", x)
		}
	})
}
