package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"

	"slipway/conf"
)

// check tells what this kernel and host offer, and what is missing for what. It
// needs no daemon and asks none. Everything is tried; nothing stays behind.
func check(ctx context.Context, std streams, flags *flag.FlagSet, args []string) error {
	s := newSettings(flags)
	s.addPlaces(flags)
	asJSON := flags.Bool("json", false, "print JSON")
	if err := parse(flags, args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%w: unexpected %q", errUsage, flags.Arg(0))
	}
	c, err := s.load()
	if err != nil {
		return err
	}
	r := newReport(c)
	realHost().look(ctx, c, &r)
	if *asJSON {
		err = r.writeJSON(std.out)
	} else {
		err = r.writeTable(std.out)
	}
	if err != nil {
		return err
	}
	return r.err()
}

// State is how an item stands.
const (
	stateOK      = "ok"
	stateAbsent  = "absent"  // not there, and nobody needs it
	stateLimited = "limited" // pods run; what does not is said
	stateMissing = "missing" // no pod can run
)

// item is one thing that was looked at.
type item struct {
	Area   string `json:"area"`
	Name   string `json:"name"`
	State  string `json:"state"`
	Detail string `json:"detail,omitempty"` // what was found
	Effect string `json:"effect,omitempty"` // what does not work without it
	Do     string `json:"do,omitempty"`     // what a person can do
}

// report is all items, in the order in which they are shown.
type report struct {
	Version string   `json:"version"`
	Kernel  string   `json:"kernel"`
	Arch    string   `json:"arch"`
	Config  []string `json:"config"` // files that were read
	Ready   bool     `json:"podsCanRun"`
	Reasons []string `json:"reasons"` // why not
	Items   []item   `json:"items"`
}

func newReport(c conf.Config) report {
	return report{
		Version: version, Kernel: kernelRelease(), Arch: runtime.GOARCH,
		Config: append([]string{}, c.Files()...), Ready: true, Reasons: []string{},
	}
}

func kernelRelease() string {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(b))
}

func (r *report) add(items ...item) {
	for _, i := range items {
		if i.State == stateMissing {
			r.Ready = false
			r.Reasons = append(r.Reasons, i.Name+": "+i.Detail)
		}
		r.Items = append(r.Items, i)
	}
}

// maxReasons of one line; the table has them all.
const maxReasons = 5

// err is why no pod can run here.
func (r *report) err() error {
	if r.Ready {
		return nil
	}
	n := min(len(r.Reasons), maxReasons)
	text := "pods cannot run here: " + strings.Join(r.Reasons[:n], "; ")
	if more := len(r.Reasons) - n; more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return errors.New(text)
}

// tried is an item from a try: state and effect hold if it failed.
func tried(area, name string, err error, state, effect string) item {
	if err == nil {
		return item{Area: area, Name: name, State: stateOK}
	}
	return item{Area: area, Name: name, State: state, Detail: err.Error(), Effect: effect}
}

func absent(area, name, detail string) item {
	return item{Area: area, Name: name, State: stateAbsent, Detail: detail}
}

func found(area, name, detail string) item {
	return item{Area: area, Name: name, State: stateOK, Detail: detail}
}

// help gives an item that is not well what a person can do about it.
func (i item) help(text string) item {
	if i.State == stateLimited || i.State == stateMissing {
		i.Do = text
	}
	return i
}
