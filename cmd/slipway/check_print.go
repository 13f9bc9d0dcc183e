package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
)

func (r *report) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// writeTable is for a person: the verdict last, where the screen ends.
func (r *report) writeTable(w io.Writer) error {
	var b strings.Builder
	config := "no configuration file, the defaults hold"
	if len(r.Config) > 0 {
		config = strings.Join(r.Config, ", ")
	}
	fmt.Fprintf(&b, "slipway %s on Linux %s, %s; %s\n", r.Version, r.Kernel, r.Arch, config)
	area, counts := "", map[string]int{}
	for _, i := range r.Items {
		if i.Area != area {
			area = i.Area
			fmt.Fprintf(&b, "\n%s\n", area)
		}
		counts[i.State]++
		i.write(&b)
	}
	fmt.Fprintf(&b, "\n%d ok, %d limited, %d missing\n", counts[stateOK], counts[stateLimited], counts[stateMissing])
	if r.Ready {
		b.WriteString("pods can run here\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// write is one line, and one more for what follows from it.
func (i item) write(b *strings.Builder) {
	mark, well := "  "+i.State, i.State == stateOK || i.State == stateAbsent
	if i.State == stateAbsent {
		mark = "  -"
	}
	if !well {
		mark = "! " + i.State
	}
	line := fmt.Sprintf("%-10s  %-24s  %s", mark, i.Name, plain(i.Detail))
	b.WriteString(strings.TrimRight(line, " ") + "\n")
	for _, more := range []string{i.Effect, i.Do} {
		if more != "" && !well {
			fmt.Fprintf(b, "%12s  -> %s\n", "", plain(more))
		}
	}
}

// plain keeps what comes from files on one line of a terminal.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}
