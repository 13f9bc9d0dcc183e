package conf

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// placed is a fault with its line.
type placed struct {
	line int
	err  error
}

func (p placed) Error() string { return fmt.Sprintf("%d: %v", p.line, p.err) }

func (p placed) Unwrap() error { return p.err }

// scan tells on which line each key is set, and finds values of the wrong
// kind, for which the decoder would speak of Go's types. A document that does
// not parse ends it early; the decoder says why.
func scan(data []byte) (map[string]int, error) {
	set := map[string]int{}
	top := true // before the first table
	var p unstable.Parser
	p.Reset(data)
	for p.NextExpression() {
		e := p.Expression()
		it := e.Key()
		if !it.Next() {
			continue
		}
		first := it.Node()
		name, line := string(first.Data), p.Shape(first.Raw).Start.Line
		if e.Kind != unstable.KeyValue {
			top = false
		} else if !top {
			continue // inside a table, whose own name has been looked at
		}
		k, known := findKey(name)
		if !known {
			continue // the decoder names it
		}
		if at, err := wrong(&p, e, k); err != nil {
			return nil, placed{max(line, at), fmt.Errorf("%s: %w", name, err)}
		}
		set[name] = line
	}
	return set, nil
}

// wrong says what is wrong with a value on its own, and on which line where
// that is not the key's.
func wrong(p *unstable.Parser, e *unstable.Node, k key) (line int, err error) {
	word, many, want := kinds(k)
	if e.Kind != unstable.KeyValue || dotted(e) {
		return 0, want
	}
	v := e.Value()
	switch {
	case v.Kind == unstable.String && word:
		return 0, assign(k.field(&Config{}), []string{string(v.Data)})
	case v.Kind != unstable.Array || !many:
		return 0, want
	}
	for it := v.Children(); it.Next(); {
		n := it.Node()
		if n.Kind == unstable.Comment {
			continue
		}
		if n.Kind != unstable.String {
			return p.Shape(n.Raw).Start.Line, want
		}
		if _, isWord := k.field(&Config{}).(*Absent); isWord {
			continue // its words are paths here
		}
		if err := assign(k.field(&Config{}), []string{string(n.Data)}); err != nil {
			return p.Shape(n.Raw).Start.Line, err
		}
	}
	return 0, nil
}

// kinds tells which values a key takes, and says so as an error.
func kinds(k key) (word, many bool, want error) {
	switch k.field(&Config{}).(type) {
	case *string:
		return true, false, errors.New("want a string")
	case *Absent:
		return true, true, errors.New("want a string or a list of strings")
	}
	return false, true, errors.New("want a list of strings")
}

// dotted tells whether the key has more than one part.
func dotted(e *unstable.Node) bool {
	parts := 0
	for it := e.Key(); it.Next(); {
		parts++
	}
	return parts > 1
}

// decodeError gives each fault its file, line and key.
func decodeError(path string, err error) error {
	var unknown *toml.StrictMissingError
	if errors.As(err, &unknown) {
		var all []error
		for _, e := range unknown.Errors {
			line, _ := e.Position()
			name := strings.Join(e.Key(), ".")
			all = append(all, fmt.Errorf("%s:%d: unknown key %q%s", path, line, name, hint(name)))
		}
		return errors.Join(all...)
	}
	var bad *toml.DecodeError
	if errors.As(err, &bad) {
		line, _ := bad.Position()
		return fmt.Errorf("%s:%d: %s", path, line, strings.TrimPrefix(bad.Error(), "toml: "))
	}
	var here placed
	if errors.As(err, &here) {
		return fmt.Errorf("%s:%w", path, here)
	}
	return fmt.Errorf("%s: %w", path, err)
}
