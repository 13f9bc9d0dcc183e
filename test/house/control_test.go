package house

import (
	"strings"
	"testing"
)

// Positive controls: each bad file must be seen, with these words.
func TestTheRulesCanFail(t *testing.T) {
	const doc = "// Package x is here.\npackage x\n"
	tests := []struct{ name, file, source, want string }{
		{"room imports upward", "sandbox/linux/doc.go", doc + `import _ "slipway/sandbox"`, "may not import sandbox"},
		{"room imports beside", "conf/doc.go", doc + `import _ "slipway/oci"`, "conf may not import oci"},
		{"daemon links the keeper", "cmd/slipway/doc.go", doc + `import _ "slipway/sandbox/keeper"`, "may not import sandbox/keeper"},
		{"room imports the workshop", "sandbox/doc.go", doc + `import _ "slipway/test/leak"`, "may not import test/leak"},
		{"workshop imports the keeper", "test/cri/doc.go", doc + `import _ "slipway/sandbox/keeper"`, "may not import sandbox/keeper"},
		{"a package without a place", "plugins/doc.go", doc, "not in the list of rooms"},
		{"gRPC in a room", "sandbox/doc.go", doc + `import _ "google.golang.org/grpc/status"`, "may not import google.golang.org/grpc/status"},
		{"CRI types below the sandbox", "imagestore/doc.go", doc + `import _ "k8s.io/cri-api/pkg/apis/runtime/v1"`, "may not import k8s.io/cri-api"},
		{"a system call outside the fence", "server/doc.go", doc + `import _ "golang.org/x/sys/unix"`, "may not import golang.org/x/sys/unix"},
		{"another program", "oci/doc.go", doc + `import _ "os/exec"`, "may not import os/exec"},
		{"no package comment", "conf/doc.go", "package conf\n", "want one, in doc.go"},
		{"a comment in another file", "conf/config.go", doc, "want one, in doc.go"},
		{"a command that does not say what it is", "cmd/slipway/main.go", "package main\n", "want one, in doc.go"},
		{"init", "conf/doc.go", doc + "func init() {}", "init function"},
		{"init in a test", "conf/x_test.go", "package conf\nfunc init() {}", "init function"},
		{"vague folder", "test/util/doc.go", doc, `folder "util" says nothing`},
		{"vague package", "conf/doc.go", "// Package types is here.\npackage types\n", `package "types" says nothing`},
		{"function without a comment", "conf/doc.go", doc + "func Load() {}", "exported Load has no comment"},
		{"method without a comment", "conf/doc.go", doc + "type t struct{}\n// T is.\ntype T[E any] struct{}\nfunc (t) Own() {}\nfunc (*T[E]) Get() {}", "exported Get has no comment"},
		{"type without a comment", "conf/doc.go", doc + "type Config struct{}", "exported Config has no comment"},
		{"constant without a comment", "conf/doc.go", doc + "const Limit = 1", "exported Limit has no comment"},
		{"not Go", "conf/doc.go", "pakcage x", "expected 'package'"},
		{"a path of one machine", "conf/doc.go", doc + `const where = "/` + `work/main"`, "outside the repository"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newChecker()
			c.file(tt.file, []byte(tt.source))
			wrong := strings.Join(c.finish(), "\n")
			if !strings.Contains(wrong, tt.want) {
				t.Errorf("not seen; the checker says %q, want %q", wrong, tt.want)
			}
		})
	}
}

func TestTheRulesCanPass(t *testing.T) {
	c := newChecker()
	c.file("sandbox/cgroup/doc.go", []byte("// Package cgroup is here.\npackage cgroup\n"))
	c.file("sandbox/cgroup/a.go", []byte(`package cgroup

import (
	"golang.org/x/sys/unix"
	"slipway/sandbox/linux"
)

// Errors of this room.
var (
	ErrOne = unix.EPERM
	ErrTwo = linux.ErrTwo
)

// Get gets.
func Get() {}

type own struct{}

func (own) String() string { return "" }
`))
	c.file("sandbox/cgroup/a_test.go", []byte("package cgroup_test\nimport _ \"slipway/server\"\nfunc Exported() {}\n"))
	for _, w := range c.finish() {
		t.Error(w)
	}
}

// The link test must be able to see something: the daemon links far more.
func TestForeignDepsAreSeen(t *testing.T) {
	if deps := foreignDeps(t, "./sandbox/cgroup"); len(deps) < 3 {
		t.Errorf("saw only %q", deps)
	}
}
