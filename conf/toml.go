package conf

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// TOML returns the settings as a file that Load reads back, each key with its
// explanation.
func (c Config) TOML() []byte {
	var b strings.Builder
	b.WriteString("# Settings of slipway. Every key is here; one that is left out has its default.\n" +
		"# The *.toml in the directory named as this file with \".d\" appended are read\n" +
		"# after it, in the order of their names. The command line beats them all.\n" +
		"# (reload): taken over on SIGHUP; everything else at the next start.\n")
	for _, k := range keys() {
		b.WriteByte('\n')
		doc := k.doc
		if k.reload {
			doc += " (reload)"
		}
		for line := range strings.SplitSeq(doc, "\n") {
			b.WriteString("# " + line + "\n")
		}
		fmt.Fprintf(&b, "%s = %s\n", k.name, render(k.field(&c)))
	}
	c.handlersTOML(&b)
	return []byte(b.String())
}

// handlersTOML explains the handlers' keys, and writes those that are set.
func (c Config) handlersTOML(b *strings.Builder) {
	b.WriteString("\n# Handlers are named configurations: a RuntimeClass chooses one for its pods.\n" +
		"# An empty table makes a name known; what it does not set is as above.\n#\n# [handlers.NAME]\n")
	for _, k := range handlerKeys() {
		b.WriteString("#\n")
		for line := range strings.SplitSeq(k.doc, "\n") {
			b.WriteString("# # " + line + "\n")
		}
		fmt.Fprintf(b, "# %s = %s\n", k.name, render(k.field(&Handler{})))
	}
	for _, name := range c.HandlerNames() {
		fmt.Fprintf(b, "\n[%s.%s]\n", handlersKey, name)
		h := c.Handlers[name]
		for _, k := range handlerKeys() {
			if !reflect.ValueOf(k.field(h)).Elem().IsZero() {
				fmt.Fprintf(b, "%s = %s\n", k.name, render(k.field(h)))
			}
		}
	}
}

// Dump returns the settings in effect, each with the place that set it.
func (c Config) Dump() []byte {
	var b strings.Builder
	for _, k := range keys() {
		origin := c.origin[k.name]
		if origin == "" {
			origin = "default"
		}
		fmt.Fprintf(&b, "%s = %s # %s\n", k.name, render(k.field(&c)), origin)
	}
	for _, name := range c.HandlerNames() {
		fmt.Fprintf(&b, "[%s.%s] # %s\n", handlersKey, name, c.origin[handlersKey+"."+name])
		h := c.Handlers[name]
		for _, k := range handlerKeys() {
			if origin := c.origin[handlersKey+"."+name+"."+k.name]; origin != "" {
				fmt.Fprintf(&b, "%s = %s # %s\n", k.name, render(k.field(h)), origin)
			}
		}
	}
	return []byte(b.String())
}

// render writes a field's value as TOML.
func render(field any) string {
	switch f := field.(type) {
	case *string:
		return quote(*f)
	case *[]string:
		return list(*f)
	case *[]Ulimit:
		texts := make([]string, len(*f))
		for i, u := range *f {
			text, _ := u.MarshalText() // cannot fail
			texts[i] = string(text)
		}
		return list(texts)
	case *Absent:
		switch {
		case len(*f) == 0:
			return quote("create")
		case slices.Equal(*f, Absent{"/"}):
			return quote("reject")
		}
		return list(*f)
	case *Duration:
		return quote(f.String())
	case *int:
		return strconv.Itoa(*f)
	case *bool:
		return strconv.FormatBool(*f)
	}
	return ""
}

func list(values []string) string {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = quote(v)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// quote writes a basic string of TOML; its escapes are not those of Go.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range strings.ToValidUTF8(s, "\uFFFD") {
		switch {
		case r == '"' || r == '\\':
			b.WriteRune('\\')
			b.WriteRune(r)
		case unicode.IsControl(r):
			fmt.Fprintf(&b, "\\u%04X", r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
