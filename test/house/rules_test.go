package house

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"slices"
	"strconv"
	"strings"
)

// checker collects what is wrong with the files that it is shown.
type checker struct {
	fset  *token.FileSet
	docs  map[string][]string // package => files with a package comment, and "" for each file
	wrong []string
}

func newChecker() *checker {
	return &checker{fset: token.NewFileSet(), docs: map[string][]string{}}
}

func (c *checker) complain(pos token.Pos, format string, args ...any) {
	c.wrong = append(c.wrong, fmt.Sprintf("%s: %s", c.fset.Position(pos), fmt.Sprintf(format, args...)))
}

// file checks one Go file; name is relative to the root, with slashes.
func (c *checker) file(name string, source []byte) {
	f, err := parser.ParseFile(c.fset, name, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		c.wrong = append(c.wrong, err.Error())
		return
	}
	c.text(f, string(source))
	c.noInit(f)
	if strings.HasSuffix(name, "_test.go") {
		return // tests may import and leave unsaid what they like
	}
	pkg := path.Dir(name)
	c.names(pkg, f)
	c.imports(pkg, f)
	c.comments(f)
	c.docs[pkg] = append(c.docs[pkg], "")
	if f.Doc != nil {
		where := path.Base(name)
		if f.Name.Name == "main" && where == "main.go" {
			where = "doc.go" // a command of one file may say it there
		}
		c.docs[pkg] = append(c.docs[pkg], where)
	}
}

// finish checks what only all files together can tell.
func (c *checker) finish() []string {
	for pkg, files := range c.docs {
		files = slices.DeleteFunc(files, func(f string) bool { return f == "" })
		if len(files) != 1 || files[0] != "doc.go" {
			c.wrong = append(c.wrong, fmt.Sprintf("%s: package comment in %q, want one, in doc.go", pkg, files))
		}
	}
	slices.Sort(c.wrong)
	return c.wrong
}

// text: the repository stands alone; it knows no other folder of the machine it
// was written on. The words are put together here so that this file passes.
func (c *checker) text(f *ast.File, source string) {
	for _, word := range []string{"/" + "work/", ".." + "/shared"} {
		if strings.Contains(source, word) {
			c.complain(f.Package, "mentions %q, which is outside the repository", word)
		}
	}
}

func (c *checker) noInit(f *ast.File) {
	if ast.IsGenerated(f) {
		return
	}
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
			c.complain(fn.Pos(), "init function: main builds, rooms receive")
		}
	}
}

func (c *checker) names(pkg string, f *ast.File) {
	for part := range strings.SplitSeq(pkg, "/") {
		if slices.Contains(vague, part) {
			c.complain(f.Package, "folder %q says nothing: name it for the one thing it does", part)
		}
	}
	if slices.Contains(vague, f.Name.Name) {
		c.complain(f.Package, "package %q says nothing: name it for the one thing it does", f.Name.Name)
	}
}

func (c *checker) imports(pkg string, f *ast.File) {
	mayImport, isRoom := roomOf(pkg)
	if !isRoom && !inWorkshop(pkg) {
		c.complain(f.Package, "package %q is not in the list of rooms", pkg)
		return
	}
	for _, im := range f.Imports {
		what, _ := strconv.Unquote(im.Path.Value)
		switch ours, ok := strings.CutPrefix(what, module+"/"); {
		case !ok:
			if isRoom {
				c.outside(pkg, what, im.Pos())
			}
		case isRoom && !listed(mayImport, ours):
			c.complain(im.Pos(), "%s may not import %s", pkg, ours)
		case !isRoom && (ours == "sandbox/keeper" || strings.HasPrefix(ours, "cmd/")):
			c.complain(im.Pos(), "%s may not import %s", pkg, ours)
		}
	}
}

func (c *checker) outside(pkg, what string, pos token.Pos) {
	for _, o := range only {
		if (what == o.path || strings.HasPrefix(what, o.path+"/")) && !listed(o.rooms, pkg) {
			c.complain(pos, "%s may not import %s: %s", pkg, what, o.why)
		}
	}
}

// comments: every exported name of a package says what it is, methods of exported
// types too. In a group of constants or variables one comment serves all.
// Generated files are as their generator made them; main exports nothing.
func (c *checker) comments(f *ast.File) {
	if ast.IsGenerated(f) || f.Name.Name == "main" {
		return
	}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Doc == nil && d.Name.IsExported() && (d.Recv == nil || ast.IsExported(receiver(d)) && !selfEvident(d)) {
				c.complain(d.Pos(), "exported %s has no comment", d.Name.Name)
			}
		case *ast.GenDecl:
			c.specComments(d)
		}
	}
}

func (c *checker) specComments(d *ast.GenDecl) {
	for _, spec := range d.Specs {
		var names []*ast.Ident
		said := d.Doc != nil
		switch s := spec.(type) {
		case *ast.TypeSpec:
			names, said = []*ast.Ident{s.Name}, s.Doc != nil || (d.Doc != nil && len(d.Specs) == 1)
		case *ast.ValueSpec:
			names, said = s.Names, said || s.Doc != nil || s.Comment != nil
		}
		for _, n := range names {
			if n.IsExported() && !said {
				c.complain(n.Pos(), "exported %s has no comment", n.Name)
			}
		}
	}
}

// selfEvident methods do what their interface in the standard library says; a
// comment could only repeat it.
func selfEvident(fn *ast.FuncDecl) bool {
	return slices.Contains([]string{"Error", "Unwrap", "String"}, fn.Name.Name) && fn.Type.Params.NumFields() == 0
}

// receiver is the name of the type that a method belongs to.
func receiver(fn *ast.FuncDecl) string {
	t := fn.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}

func listed(list, name string) bool { return slices.Contains(strings.Fields(list), name) }
