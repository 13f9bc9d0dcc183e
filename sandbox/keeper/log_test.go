package keeper

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

// contents joins the parts of the log lines of each stream.
func contents(t testing.TB, files ...string) (streams [2]string) {
	t.Helper()
	var all [2]strings.Builder
	for _, f := range files {
		b, err := os.ReadFile(f)
		ck(t, err)
		for i, line := range bytes.Split(b, []byte("\n")) {
			if len(line) == 0 {
				continue
			}
			p := bytes.SplitN(line, []byte(" "), 4)
			if len(p) != 4 {
				t.Fatalf("%s line %d is no log line: %.100q", f, i+1, line)
			}
			w := &all[0]
			if string(p[1]) == "stderr" {
				w = &all[1]
			}
			w.Write(p[3])
			if string(p[2]) == "F" {
				w.WriteByte('\n')
			}
		}
	}
	return [2]string{all[0].String(), all[1].String()}
}

// whole checks that a writer's lines are complete, in order and not doubled.
func whole(t testing.TB, files ...string) (lines int) {
	t.Helper()
	s := contents(t, files...)
	out := strings.Split(strings.TrimSuffix(s[0], "\n"), "\n")
	for i, line := range out[:len(out)-1] {
		if n, err := strconv.Atoi(strings.TrimRight(line, "x")); err != nil || n != i+1 {
			t.Fatalf("stdout line %d is %.100q", i+1, line)
		}
	}
	lines = len(out) - 1
	if last := out[lines]; last != fmt.Sprintf("end %d", lines) {
		t.Fatalf("last line is %.100q, %d lines before it", last, lines)
	}
	errs := strings.Split(strings.TrimSuffix(s[1], "\n"), "\n")
	for i, line := range errs {
		if line != strconv.Itoa(i+1) {
			t.Fatalf("stderr line %d is %.100q", i+1, line)
		}
	}
	if len(errs) != lines/10 {
		t.Fatalf("%d lines on stderr, %d on stdout", len(errs), lines)
	}
	return lines
}
