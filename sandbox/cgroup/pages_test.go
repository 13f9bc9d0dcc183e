package cgroup

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// pageSizes are the sizes that a group has limits for, as their files spell them.
func pageSizes(t *testing.T, g *Group) []string {
	t.Helper()
	d, ok := g.at("hugetlb")
	if !ok {
		t.Skip("no hugetlb controller")
	}
	fd, err := d.openFile(".", os.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), ".")
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		t.Fatal(err)
	}
	var sizes []string
	for _, n := range names {
		part := strings.Split(n, ".")
		if len(part) == 3 && part[0] == "hugetlb" && part[2] == limitName(g) {
			sizes = append(sizes, part[1])
		}
	}
	if len(sizes) == 0 {
		t.Skip("no huge pages")
	}
	return sizes
}

func limitName(g *Group) string {
	if g.tree.v2 {
		return "max"
	}
	return "limit_in_bytes"
}

// What is used and what is reserved are both limited; a size that the host does
// not have is an error only when pages of it are wanted.
func TestHugepages(t *testing.T) {
	tree, at := testTree(t)
	ctx := context.Background()
	g := mustCreate(t, tree, at+"/x")
	size := pageSizes(t, g)[0]
	pages := func(limits ...specs.LinuxHugepageLimit) error {
		return g.Update(ctx, &specs.LinuxResources{HugepageLimits: limits})
	}
	check := func(want string) {
		t.Helper()
		for _, infix := range []string{"", ".rsvd"} {
			file := "hugetlb." + size + infix + "." + limitName(g)
			if got := g.text("hugetlb", file); got != want && (infix == "" || got != "") {
				t.Errorf("%s is %q, want %s", file, got, want)
			}
		}
	}
	if err := pages(specs.LinuxHugepageLimit{Pagesize: size, Limit: 1 << 30}, specs.LinuxHugepageLimit{Pagesize: "7MB"}); err != nil {
		t.Fatal(err)
	}
	check("1073741824")
	err := pages(specs.LinuxHugepageLimit{Pagesize: size}, specs.LinuxHugepageLimit{Pagesize: "7MB", Limit: 7 << 20})
	if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "7MB") {
		t.Errorf("a size that is not there: %v", err)
	}
	check("1073741824")
}
