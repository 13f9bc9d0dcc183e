package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// show prints the demo for a person: a line a step with the time it took, and
// below it, dimmed, the command that does the same by hand.
type show struct {
	w     io.Writer
	color bool
	start time.Time
}

func newShow(f *os.File) *show {
	fi, err := f.Stat()
	terminal := err == nil && fi.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == ""
	return &show{w: f, color: terminal, start: time.Now()}
}

const (
	bold  = "\x1b[1m"
	dim   = "\x1b[2m"
	green = "\x1b[32m"
	red   = "\x1b[31m"
	plain = "\x1b[0m"
)

func (s *show) paint(style, text string) string {
	if !s.color {
		return text
	}
	return style + text + plain
}

func (s *show) title(text string) { fmt.Fprintf(s.w, "\n%s\n\n", s.paint(bold, text)) }

func (s *show) say(text string) { fmt.Fprintf(s.w, "      %s\n", text) }

// step runs do and prints its name, its time and what do says of it. command
// is shown to a person who would do it by hand; "" for none.
func (s *show) step(name, command string, do func() (string, error)) error {
	start := time.Now()
	detail, err := do()
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	took := fmt.Sprintf("%.1f ms", float64(time.Since(start).Microseconds())/1000)
	first, rest, more := strings.Cut(strings.TrimRight(detail, "\n"), "\n")
	fmt.Fprintf(s.w, "  %s %-18s %10s   %s\n", s.paint(green, "ok"), name, took, first)
	if command != "" {
		fmt.Fprintf(s.w, "      %s\n", s.paint(dim, "$ "+command))
	}
	if more {
		for line := range strings.Lines(rest + "\n") {
			fmt.Fprintf(s.w, "      | %s", line)
		}
	}
	return nil
}

func (s *show) failed(err error) {
	fmt.Fprintf(s.w, "  %s %v\n\n", s.paint(red, "FAILED"), err)
}

func (s *show) end() {
	fmt.Fprintf(s.w, "\n%s\n\n", s.paint(bold, fmt.Sprintf("done in %.1f s", time.Since(s.start).Seconds())))
}
