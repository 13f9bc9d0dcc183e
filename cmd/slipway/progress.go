package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// progress shows, on a terminal only, how much of a file is sent.
type progress struct {
	w     io.Writer // nil: nobody looks
	name  string
	size  int64 // 0: not known
	sent  int64
	shown time.Time
}

const progressEvery = 200 * time.Millisecond

func newProgress(w io.Writer, name string, size int64) *progress {
	p := &progress{name: name, size: size}
	if f, ok := w.(*os.File); ok {
		if fi, err := f.Stat(); err == nil && fi.Mode()&fs.ModeCharDevice != 0 {
			p.w = w
		}
	}
	return p
}

func (p *progress) add(n int) {
	p.sent += int64(n)
	if p.w == nil || time.Since(p.shown) < progressEvery {
		return
	}
	p.shown = time.Now()
	fmt.Fprintf(p.w, "\r\x1b[K%s", p.line())
}

func (p *progress) line() string {
	if p.size <= 0 {
		return fmt.Sprintf("%s: %d MiB", p.name, p.sent>>20)
	}
	return fmt.Sprintf("%s: %3d%% of %d MiB", p.name, min(100, p.sent*100/p.size), p.size>>20)
}

// done takes the line away.
func (p *progress) done() {
	if p.w != nil && !p.shown.IsZero() {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
