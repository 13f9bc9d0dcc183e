package conf

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// maxFaults is how many faults of one file are named.
const maxFaults = 20

// document walks one file that is known to be TOML, expression by expression:
// it gives each key its value and remembers where. What is wrong is collected,
// each with its line.
type document struct {
	c      *Config
	path   string // of the file
	p      unstable.Parser
	faults []error
}

// read takes over all values of a file.
func (d *document) read(data []byte) error {
	var table []string
	known := true // the table of the header before
	d.p.Reset(data)
	for d.p.NextExpression() {
		e := d.p.Expression()
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			table = parts(e)
			known = d.header(e, table)
		case unstable.KeyValue:
			if known {
				d.value(table, e)
			}
		}
		if len(d.faults) >= maxFaults {
			break
		}
	}
	return errors.Join(append(d.faults, d.p.Error())...)
}

// parts are the words of a key or of a table's name.
func parts(e *unstable.Node) []string {
	var all []string
	for it := e.Key(); it.Next(); {
		all = append(all, string(it.Node().Data))
	}
	return all
}

// line is where an expression begins.
func (d *document) line(e *unstable.Node) int {
	it := e.Key()
	if !it.Next() {
		return 1
	}
	return d.p.Shape(it.Node().Raw).Start.Line
}

func (d *document) fault(line int, format string, args ...any) {
	d.faults = append(d.faults, fmt.Errorf("%s:%d: %w", d.path, line, fmt.Errorf(format, args...)))
}

// header begins a table: a handler's is the only kind. Whether values in it are
// to be read is answered.
func (d *document) header(e *unstable.Node, path []string) bool {
	line := d.line(e)
	if k, known := findKey(path[0]); known {
		d.fault(line, "%s: %w", path[0], kinds(k.field(d.c)))
		return false
	}
	if path[0] != handlersKey {
		d.fault(line, "unknown key %q%s", path[0], hint(path[0], Keys()))
		return false
	}
	switch {
	case e.Kind == unstable.ArrayTable:
		d.fault(line, "%s: want a table [%s.NAME], not a list of them", handlersKey, handlersKey)
		return false
	case len(path) == 1:
		return true // what is in it has the name in front
	case len(path) > 2:
		d.fault(line, "unknown key %q%s", strings.Join(path, "."), hint(path[2], handlerKeyNames()))
		return false
	}
	return d.handler(line, path[1]) != nil
}

// handler finds or makes a handler.
func (d *document) handler(line int, name string) *Handler {
	if err := checkHandlerName(name); err != nil {
		d.fault(line, "%s: %q %w", handlersKey, name, err)
		return nil
	}
	at := fmt.Sprintf("%s:%d", d.path, line)
	if _, set := d.c.origin[handlersKey+"."+name]; !set {
		d.c.origin[handlersKey+"."+name] = at
	}
	return d.c.handler(name)
}

// value takes one key's value; one that is a table of its own is taken apart.
func (d *document) value(table []string, e *unstable.Node) {
	path := append(append([]string{}, table...), parts(e)...)
	line, v := d.line(e), e.Value()
	if v.Kind == unstable.InlineTable && path[0] == handlersKey && len(path) < 3 {
		if len(path) == 2 && d.handler(line, path[1]) == nil {
			return
		}
		for it := v.Children(); it.Next(); {
			d.value(path, it.Node())
		}
		return
	}
	field := d.find(line, path)
	if field == nil {
		return
	}
	name := strings.Join(path, ".")
	values, at, err := d.words(v, field)
	if err == nil {
		err = assign(field, values)
	}
	if err != nil {
		d.fault(max(line, at), "%s: %w", name, err)
		return
	}
	d.c.origin[name] = fmt.Sprintf("%s:%d", d.path, line)
}

// find says where the value of a key goes; nil, and a fault, for one that is
// none.
func (d *document) find(line int, path []string) any {
	if path[0] == handlersKey {
		return d.findInHandler(line, path)
	}
	k, known := findKey(path[0])
	switch {
	case !known:
		d.fault(line, "unknown key %q%s", path[0], hint(path[0], Keys()))
		return nil
	case len(path) > 1:
		d.fault(line, "%s: %w", path[0], kinds(k.field(d.c)))
		return nil
	}
	return k.field(d.c)
}

func (d *document) findInHandler(line int, path []string) any {
	if len(path) < 3 {
		d.fault(line, "%s: want a table", strings.Join(path, "."))
		return nil
	}
	h := d.handler(line, path[1])
	if h == nil {
		return nil
	}
	for _, k := range handlerKeys() {
		if k.name == path[2] && len(path) == 3 {
			return k.field(h)
		}
	}
	d.fault(line, "unknown key %q%s", strings.Join(path, "."), hint(path[2], handlerKeyNames()))
	return nil
}

// words are the text of a value, or of each in a list. The line is that of a
// wrong one in a list, where that is not the key's.
func (d *document) words(v *unstable.Node, field any) (words []string, line int, err error) {
	want := kinds(field)
	single, many := takes(field)
	if v.Kind == unstable.Array && many {
		for it := v.Children(); it.Next(); {
			n := it.Node()
			if n.Kind == unstable.Comment {
				continue
			}
			if at := d.p.Shape(n.Raw).Start.Line; n.Kind != unstable.String {
				return nil, at, want
			} else if err := assignOne(field, string(n.Data)); err != nil {
				return nil, at, err
			}
			words = append(words, string(n.Data))
		}
		return words, 0, nil
	}
	if single == unstable.Invalid || v.Kind != single {
		return nil, 0, want
	}
	return []string{string(v.Data)}, 0, nil
}

// takes tells which kind of single value a field takes, if any, and whether it
// takes a list of strings.
func takes(field any) (single unstable.Kind, many bool) {
	switch field.(type) {
	case *string, *Duration:
		return unstable.String, false
	case *int:
		return unstable.Integer, false
	case *bool:
		return unstable.Bool, false
	case *Absent:
		return unstable.String, true
	}
	return unstable.Invalid, true
}

// kinds says which values a field takes, as an error.
func kinds(field any) error {
	switch field.(type) {
	case *string:
		return errors.New("want a string")
	case *Duration:
		return errors.New(`want a duration as a string, such as "90s" or "4h"`)
	case *int:
		return errors.New("want a number")
	case *bool:
		return errors.New("want true or false")
	case *Absent:
		return errors.New("want a string or a list of strings")
	}
	return errors.New("want a list of strings")
}

// syntaxError gives what is no TOML its file and line.
func syntaxError(path string, err error) error {
	var bad *toml.DecodeError
	if errors.As(err, &bad) {
		line, _ := bad.Position()
		return fmt.Errorf("%s:%d: %s", path, line, strings.TrimPrefix(bad.Error(), "toml: "))
	}
	return fmt.Errorf("%s: %w", path, err)
}
